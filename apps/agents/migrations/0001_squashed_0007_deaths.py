import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """A new database is made at once; one of before goes the way of the replaced ones, step by step."""

    replaces = [('agents', '0001_initial'), ('agents', '0002_handover'), ('agents', '0003_requests'), ('agents', '0004_no_second_index_of_session'), ('agents', '0005_what_waiting_leaves'), ('agents', '0006_queue_by_number'), ('agents', '0007_deaths')]

    initial = True

    dependencies = [
        ('accounts', '__first__'),
        ('cards', '0001_initial'),
        ('credentials', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='AgentSession',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('project_id', models.PositiveBigIntegerField()),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('starting', 'Starting'), ('running', 'Running'), ('waiting', 'Waiting'), ('interrupted', 'Interrupted'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='queued', max_length=12)),
                ('worker_id', models.CharField(max_length=40, null=True)),
                ('host_id', models.CharField(max_length=40, null=True)),
                ('fence', models.PositiveIntegerField(default=0)),
                ('cancel_requested', models.BooleanField(default=False)),
                ('queue_rank', models.PositiveSmallIntegerField(default=1)),
                ('queue_number', models.PositiveBigIntegerField(default=0)),
                ('queue_reason', models.CharField(max_length=30, null=True)),
                ('not_before', models.DateTimeField(null=True)),
                ('started_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('error_code', models.CharField(max_length=40, null=True)),
                ('error_message', models.TextField(null=True)),
                ('next_index', models.PositiveBigIntegerField(default=0)),
                ('next_rev', models.PositiveBigIntegerField(default=1)),
                ('column_id', models.PositiveBigIntegerField(null=True)),
                ('column_name', models.CharField(max_length=200, null=True)),
                ('preset', models.CharField(max_length=60, null=True)),
                ('model', models.CharField(max_length=200, null=True)),
                ('permission_mode', models.CharField(default='unattended', max_length=12)),
                ('agent_session_id', models.CharField(max_length=300, null=True)),
                ('handover_due', models.BooleanField(default=False)),
                ('waiting_for', models.JSONField(null=True)),
                ('waiting_since', models.DateTimeField(null=True)),
                ('advances', models.BooleanField(default=True)),
                ('pid', models.PositiveIntegerField(null=True)),
                ('deaths', models.PositiveSmallIntegerField(default=0)),
                ('input_tokens', models.PositiveBigIntegerField(default=0)),
                ('output_tokens', models.PositiveBigIntegerField(default=0)),
                ('cached_tokens', models.PositiveBigIntegerField(default=0)),
                ('cost_usd', models.FloatField(null=True)),
                ('reported_cost_usd', models.FloatField(default=0.0)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('card', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sessions', to='cards.card')),
                ('credential', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='credentials.credential')),
                ('started_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['card', '-id'], name='session_of_card'), models.Index(condition=models.Q(('state__in', ['queued', 'interrupted'])), fields=['queue_rank', 'queue_number', 'id'], name='session_queue'), models.Index(condition=models.Q(('worker_id__isnull', False)), fields=['worker_id'], name='session_owner'), models.Index(fields=['project_id', 'state'], name='session_of_project')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('cancel_requested', False), ('state__in', ['queued', 'starting', 'running', 'waiting', 'interrupted'])), fields=('card',), name='one_live_session_per_card')],
            },
        ),
        migrations.CreateModel(
            name='AgentMessage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('index', models.PositiveBigIntegerField(null=True)),
                ('rev', models.PositiveBigIntegerField(default=0)),
                ('role', models.CharField(choices=[('user', 'User'), ('assistant', 'Assistant'), ('tool', 'Tool'), ('system', 'System')], max_length=10)),
                ('type', models.CharField(max_length=12)),
                ('content', models.TextField(default='')),
                ('tool_call', models.TextField(null=True)),
                ('partial', models.BooleanField(default=False)),
                ('truncated', models.BooleanField(default=False)),
                ('queue', models.CharField(choices=[('queued', 'Queued'), ('next', 'Next'), ('dropped', 'Dropped')], max_length=8, null=True)),
                ('fence', models.PositiveIntegerField(null=True)),
                ('ordinal', models.PositiveBigIntegerField(null=True)),
                ('turn_id', models.PositiveBigIntegerField(null=True)),
                ('created_at', models.DateTimeField()),
                ('author', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('session', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='messages', to='agents.agentsession')),
            ],
            options={
                'indexes': [models.Index(fields=['session', 'rev'], name='message_rev'), models.Index(condition=models.Q(('queue__isnull', False)), fields=['session'], name='message_in_queue')],
                'constraints': [models.UniqueConstraint(fields=('session', 'index'), name='one_message_per_index'), models.UniqueConstraint(condition=models.Q(('ordinal__isnull', False)), fields=('session', 'fence', 'ordinal'), name='one_message_per_line')],
            },
        ),
        migrations.CreateModel(
            name='Turn',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('prompt', 'Prompt'), ('follow_up', 'Follow Up')], default='prompt', max_length=10)),
                ('text', models.TextField()),
                ('state', models.CharField(choices=[('new', 'New'), ('sent', 'Sent'), ('ended', 'Ended')], default='new', max_length=6)),
                ('stop_reason', models.CharField(max_length=40, null=True)),
                ('resumes', models.PositiveSmallIntegerField(default=0)),
                ('resumed_at', models.DateTimeField(null=True)),
                ('limit_tries', models.PositiveSmallIntegerField(default=0)),
                ('limited_since', models.DateTimeField(null=True)),
                ('limited_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('sent_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('message', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='agents.agentmessage')),
                ('session', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='turns', to='agents.agentsession')),
            ],
            options={
                'indexes': [models.Index(fields=['session', 'id'], name='turn_order')],
            },
        ),
        migrations.CreateModel(
            name='AgentRequest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('plan', 'Plan'), ('permission', 'Permission'), ('question', 'Question')], max_length=12)),
                ('state', models.CharField(choices=[('open', 'Open'), ('answered', 'Answered'), ('cancelled', 'Cancelled'), ('withdrawn', 'Withdrawn')], default='open', max_length=10)),
                ('fingerprint', models.CharField(default='', max_length=64)),
                ('title', models.TextField(default='')),
                ('body', models.JSONField(default=dict)),
                ('options', models.JSONField(default=list)),
                ('answer', models.JSONField(null=True)),
                ('answered_at', models.DateTimeField(null=True)),
                ('told_at', models.DateTimeField(null=True)),
                ('delivered_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('answered_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('session', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='requests', to='agents.agentsession')),
                ('turn', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='requests', to='agents.turn')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state', 'open')), fields=['session'], name='request_open'), models.Index(condition=models.Q(('delivered_at__isnull', True), ('state', 'answered')), fields=['session'], name='request_undelivered')],
            },
        ),
    ]
