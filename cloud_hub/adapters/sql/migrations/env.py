"""Runs the migration steps on the connection that `database.upgrade` hands over; Alembic loads it by its path."""

from alembic import context

from cloud_hub.adapters.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # true of SQLite, too, once BEGIN is ours (database.py)
)
with context.begin_transaction():
    context.run_migrations()
