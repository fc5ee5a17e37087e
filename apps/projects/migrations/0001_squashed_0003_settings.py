import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """A new database is made at once; one of before goes the way of the replaced ones, step by step."""

    replaces = [('projects', '0001_initial'), ('projects', '0002_invitations'), ('projects', '0003_settings')]

    initial = True

    dependencies = [
        ('accounts', '__first__'),
        ('credentials', '0001_initial'),
        ('organizations', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Project',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=200)),
                ('path', models.TextField()),
                ('is_git', models.BooleanField(default=False)),
                ('agent', models.CharField(max_length=60, null=True)),
                ('model', models.CharField(max_length=200, null=True)),
                ('permission_mode', models.CharField(choices=[('unattended', 'Unattended'), ('ask', 'Ask'), ('plan', 'Plan')], default='unattended', max_length=12)),
                ('base_branch', models.CharField(max_length=250, null=True)),
                ('branch_template', models.CharField(max_length=250, null=True)),
                ('worktree', models.BooleanField(default=True)),
                ('max_parallel_agents', models.PositiveIntegerField(null=True)),
                ('auto_commit', models.BooleanField(default=False)),
                ('setup_script', models.TextField(null=True)),
                ('cleanup_script', models.TextField(null=True)),
                ('copy_files', models.JSONField(default=list)),
                ('own_settings', models.JSONField(default=dict)),
                ('repository_settings', models.JSONField(default=dict)),
                ('repository_hash', models.CharField(max_length=64, null=True)),
                ('accepted_hash', models.CharField(max_length=64, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('credential', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='credentials.credential')),
                ('organization', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='projects', to='organizations.organization')),
                ('owner', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('email', models.EmailField(db_index=True, max_length=254)),
                ('role', models.CharField(choices=[('admin', 'Admin'), ('member', 'Member')], default='member', max_length=10)),
                ('code_hash', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='invitations', to='projects.project')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'email'), name='one_invitation_per_project')],
            },
        ),
        migrations.CreateModel(
            name='ProjectMember',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('admin', 'Admin'), ('member', 'Member')], default='member', max_length=10)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='projects.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'user'), name='one_membership_per_project')],
            },
        ),
        migrations.CreateModel(
            name='ProjectVisit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveIntegerField(null=True)),
                ('last_opened_at', models.DateTimeField(null=True)),
                ('read_version', models.PositiveBigIntegerField(default=0)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='visits', to='projects.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'user'), name='one_visit_per_project')],
            },
        ),
    ]
