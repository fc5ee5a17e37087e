import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """A new database is made at once; one of before goes the way of the replaced ones, step by step."""

    replaces = [('cards', '0001_initial'), ('cards', '0002_fewer_indexes'), ('cards', '0003_pipelines'), ('cards', '0004_panel_states'), ('cards', '0005_patches'), ('cards', '0006_attachments'), ('cards', '0007_search'), ('cards', '0008_attention')]

    initial = True

    dependencies = [
        ('accounts', '__first__'),
        ('boards', '0001_initial'),
        ('credentials', '0001_initial'),
        ('projects', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Worktree',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('card_id', models.PositiveBigIntegerField(unique=True)),
                ('project_id', models.PositiveBigIntegerField()),
                ('host_id', models.CharField(max_length=40)),
                ('repository', models.TextField()),
                ('path', models.TextField()),
                ('branch', models.CharField(max_length=300, null=True)),
                ('owns_branch', models.BooleanField(default=False)),
                ('base_ref', models.CharField(max_length=300, null=True)),
                ('base_commit', models.CharField(max_length=64, null=True)),
                ('state', models.CharField(choices=[('creating', 'Creating'), ('ready', 'Ready'), ('removing', 'Removing')], default='creating', max_length=10)),
                ('forced', models.BooleanField(default=False)),
                ('removing_since', models.DateTimeField(null=True)),
                ('session_wire_id', models.CharField(max_length=40, null=True)),
                ('setup_done_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='Card',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveIntegerField()),
                ('title', models.CharField(max_length=500)),
                ('prompt', models.TextField(default='')),
                ('labels', models.JSONField(default=list)),
                ('auto_mode', models.BooleanField(default=False)),
                ('pending_approval', models.BooleanField(default=False)),
                ('permission_mode', models.CharField(choices=[('unattended', 'Unattended'), ('ask', 'Ask'), ('plan', 'Plan')], max_length=12, null=True)),
                ('defer', models.BooleanField(default=False)),
                ('deferred_code', models.CharField(max_length=40, null=True)),
                ('deferred_message', models.TextField(null=True)),
                ('agent_status', models.CharField(max_length=12, null=True)),
                ('branch', models.CharField(max_length=300, null=True)),
                ('external_id', models.CharField(max_length=200, null=True)),
                ('noted_seq', models.PositiveBigIntegerField(default=0)),
                ('noted_by', models.PositiveBigIntegerField(null=True)),
                ('completed_at', models.DateTimeField(null=True)),
                ('attention', models.CharField(max_length=10, null=True)),
                ('attention_since', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('column', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='cards', to='boards.column')),
                ('created_by', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('credential', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='credentials.credential')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cards', to='projects.project')),
            ],
            options={
                'indexes': [models.Index(fields=['column', 'position'], name='card_order'), models.Index(condition=models.Q(('credential__isnull', False)), fields=['credential'], name='card_credential'), models.Index(condition=models.Q(('attention__isnull', False)), fields=['project'], name='card_attention')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('external_id__isnull', False)), fields=('project', 'external_id'), name='one_card_per_external_id')],
            },
        ),
        migrations.CreateModel(
            name='Attachment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('filename', models.CharField(default='', max_length=255)),
                ('content_type', models.CharField(default='', max_length=100)),
                ('size', models.PositiveBigIntegerField(default=0)),
                ('state', models.CharField(choices=[('receiving', 'Receiving'), ('ready', 'Ready'), ('absent', 'Absent')], default='receiving', max_length=10)),
                ('host_id', models.CharField(max_length=40)),
                ('folder', models.CharField(max_length=100)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('card', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='attachments', to='cards.card')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state', 'receiving')), fields=['created_at'], name='attachment_receiving')],
            },
        ),
        migrations.CreateModel(
            name='CardRead',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('seq', models.PositiveBigIntegerField()),
                ('card', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reads', to='cards.card')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('card', 'user'), name='one_read_per_card')],
            },
        ),
        migrations.CreateModel(
            name='Dependency',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('blocker', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='blocking', to='cards.card')),
                ('card', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='blockers', to='cards.card')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('card', 'blocker'), name='one_dependency')],
            },
        ),
        migrations.CreateModel(
            name='PanelState',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.TextField()),
                ('card', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='panel_states', to='cards.card')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('card', 'user'), name='one_panel_state_per_card')],
            },
        ),
        migrations.CreateModel(
            name='PipelineStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveIntegerField()),
                ('prompt', models.TextField(null=True)),
                ('card', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='pipeline', to='cards.card')),
                ('column', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='boards.column')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('card', 'column'), name='one_step_per_column')],
            },
        ),
    ]
