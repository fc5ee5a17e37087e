from django.db import migrations, models

# In the order in which they stand in the queue until then.
_NUMBER = """
    UPDATE agents_agentsession SET queue_number = places.place
    FROM (
        SELECT id, ROW_NUMBER() OVER (ORDER BY queued_at, id) AS place FROM agents_agentsession
    ) AS places
    WHERE places.id = agents_agentsession.id
"""


class Migration(migrations.Migration):
    dependencies = [("agents", "0005_what_waiting_leaves")]

    operations = [
        migrations.AddField(
            model_name="agentsession",
            name="queue_number",
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.RunSQL(_NUMBER, migrations.RunSQL.noop),
        migrations.RemoveIndex(model_name="agentsession", name="session_queue"),
        migrations.RemoveField(model_name="agentsession", name="queued_at"),
        migrations.AddIndex(
            model_name="agentsession",
            index=models.Index(
                condition=models.Q(("state__in", ["queued", "interrupted"])),
                fields=["queue_rank", "queue_number", "id"],
                name="session_queue",
            ),
        ),
    ]
