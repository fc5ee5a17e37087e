import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """A new database is made at once; one of before goes the way of the replaced ones, step by step."""

    replaces = [('scripts', '0001_initial'), ('scripts', '0002_runs'), ('scripts', '0003_one_output_per_line')]

    initial = True

    dependencies = [
        ('accounts', '__first__'),
        ('projects', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Script',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=200)),
                ('command', models.TextField()),
                ('position', models.PositiveIntegerField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='scripts', to='projects.project')),
            ],
            options={
                'indexes': [models.Index(fields=['project', 'position'], name='script_order')],
            },
        ),
        migrations.CreateModel(
            name='ScriptRun',
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
                ('command', models.TextField()),
                ('exit_code', models.IntegerField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('script', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='runs', to='scripts.script')),
                ('started_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state__in', ['queued', 'starting', 'running', 'waiting', 'interrupted'])), fields=['state'], name='run_live'), models.Index(condition=models.Q(('worker_id__isnull', False)), fields=['worker_id'], name='run_owner')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state__in', ['queued', 'starting', 'running', 'waiting', 'interrupted'])), fields=('script',), name='one_live_run_per_script')],
            },
        ),
        migrations.CreateModel(
            name='ScriptOutput',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('index', models.PositiveBigIntegerField()),
                ('rev', models.PositiveBigIntegerField()),
                ('content', models.TextField()),
                ('truncated', models.BooleanField(default=False)),
                ('fence', models.PositiveIntegerField()),
                ('ordinal', models.PositiveBigIntegerField()),
                ('created_at', models.DateTimeField()),
                ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='output', to='scripts.scriptrun')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'index'), name='one_output_per_index'), models.UniqueConstraint(fields=('run', 'fence', 'ordinal'), name='one_output_per_line')],
            },
        ),
    ]
