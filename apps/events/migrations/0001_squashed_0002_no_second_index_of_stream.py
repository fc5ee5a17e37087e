import apps.events.models
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """A new database is made at once; one of before goes the way of the replaced ones, step by step."""

    replaces = [('events', '0001_initial'), ('events', '0002_no_second_index_of_stream')]

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='EventStream',
            fields=[
                ('project_id', models.PositiveBigIntegerField(primary_key=True, serialize=False)),
                ('epoch', models.CharField(default=apps.events.models.new_epoch, max_length=16)),
                ('version', models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='StoredEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('seq', models.PositiveBigIntegerField()),
                ('actor_id', models.PositiveBigIntegerField(null=True)),
                ('type', models.CharField(max_length=60)),
                ('data', models.TextField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('stream', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='events', to='events.eventstream')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('stream', 'seq'), name='one_event_per_seq')],
            },
        ),
    ]
