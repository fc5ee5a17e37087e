from django.db import migrations

# The table of Django's database cache, as `createcachetable` makes it.
CREATE = """
CREATE TABLE IF NOT EXISTS rate_limit_cache (
    cache_key varchar(255) NOT NULL PRIMARY KEY,
    value text NOT NULL,
    expires {timestamp} NOT NULL
)
"""


def create(apps, schema_editor):
    kind = "timestamp with time zone" if schema_editor.connection.vendor == "postgresql" else "datetime"
    schema_editor.execute(CREATE.format(timestamp=kind))
    schema_editor.execute(
        "CREATE INDEX IF NOT EXISTS rate_limit_cache_expires ON rate_limit_cache (expires)"
    )


class Migration(migrations.Migration):
    dependencies = []
    operations = [
        migrations.RunPython(create, migrations.RunPython.noop),
    ]
