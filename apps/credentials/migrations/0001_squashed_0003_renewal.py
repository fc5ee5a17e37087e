import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """A new database is made at once; one of before goes the way of the replaced ones, step by step."""

    replaces = [('credentials', '0001_initial'), ('credentials', '0002_oauth_attempts'), ('credentials', '0003_renewal')]

    initial = True

    dependencies = [
        ('accounts', '__first__'),
    ]

    operations = [
        migrations.CreateModel(
            name='Credential',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=200)),
                ('provider', models.CharField(choices=[('anthropic', 'Anthropic'), ('openai', 'Openai'), ('openai-compatible', 'Openai Compatible'), ('google', 'Google'), ('openrouter', 'Openrouter'), ('claude-login', 'Claude Login'), ('codex-login', 'Codex Login')], max_length=30)),
                ('auth_type', models.CharField(choices=[('api_key', 'Api Key'), ('oauth', 'Oauth')], default='api_key', max_length=10)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('ready', 'Ready'), ('failed', 'Failed')], default='pending', max_length=10)),
                ('sealed', models.BinaryField(null=True)),
                ('hint', models.CharField(max_length=20, null=True)),
                ('expires_at', models.DateTimeField(null=True)),
                ('renewal', models.BinaryField(null=True)),
                ('renewing_until', models.DateTimeField(null=True)),
                ('base_url', models.URLField(max_length=500, null=True)),
                ('model', models.CharField(max_length=200, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='OAuthAttempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state_hash', models.CharField(max_length=64)),
                ('browser_hash', models.CharField(max_length=64)),
                ('verifier', models.BinaryField()),
                ('redirect_uri', models.TextField()),
                ('expires_at', models.DateTimeField()),
                ('used_at', models.DateTimeField(null=True)),
                ('error', models.TextField(null=True)),
                ('credential', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='oauth', to='credentials.credential')),
            ],
        ),
    ]
