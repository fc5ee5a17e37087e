from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from apps.cards import search_index


def make(_apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    search_index.make(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('cards', '0006_attachments'),
    ]

    operations = [
        migrations.RunPython(make, elidable=False),
    ]
