"""Reports of imports in CQL, one row each, gone after 30 days."""

from datetime import UTC, timedelta
from uuid import UUID

import orjson

from knowledge_service.domain.importing import Import, RowError
from shared.cql import UNSET, Cql, Row

KEPT = timedelta(days=30)

SAVE = (
    "INSERT INTO imports (organization_id, import_id, state, total, created, updated, unchanged, failed, errors, "
    "epoch, dry_run, created_at, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)
FIND = (
    "SELECT import_id, state, total, created, updated, unchanged, failed, errors, epoch, dry_run, created_at, seen_at "
    "FROM imports WHERE organization_id = ? AND import_id = ?"
)


class CqlImports:
    """The reports of imports."""

    def __init__(self, cql: Cql) -> None:
        self._cql = cql

    async def save(self, organization_id: str, report: Import) -> None:
        """Store the report as it is now."""
        await self._cql.execute(
            SAVE,
            (
                organization_id,
                report.import_id,
                report.state,
                report.total,
                report.created,
                report.updated,
                report.unchanged,
                report.failed,
                orjson.dumps(report.errors).decode(),
                UNSET if report.epoch is None else report.epoch,
                report.dry_run,
                report.created_at,
                report.seen_at,
                int(KEPT.total_seconds()),
            ),
        )

    async def find(self, organization_id: str, import_id: UUID) -> Import | None:
        """The report, unless there is none."""
        rows = await self._cql.execute(FIND, (organization_id, import_id))
        return _report(rows[0]) if rows else None


def _report(row: Row) -> Import:
    return Import(
        import_id=row.import_id,
        state=row.state,
        dry_run=row.dry_run,
        created_at=row.created_at.replace(tzinfo=UTC),
        seen_at=row.seen_at.replace(tzinfo=UTC),
        total=row.total,
        created=row.created,
        updated=row.updated,
        unchanged=row.unchanged,
        failed=row.failed,
        errors=tuple(RowError(**error) for error in orjson.loads(row.errors)),
        epoch=row.epoch,
    )
