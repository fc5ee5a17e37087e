from django.db import migrations


class Migration(migrations.Migration):
    """The index of the search, which follows every `migrate`: `search_index.restore` makes what isn't there."""

    dependencies = [
        ('cards', '0006_attachments'),
    ]

    operations: list[migrations.operations.base.Operation] = []
