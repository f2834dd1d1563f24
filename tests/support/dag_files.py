"""DAG files, read into the metadata database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def store_dag_files(session: Session) -> None:
    """Store the DAGs of every bundle as the dag processor does."""
    manager = DagBundlesManager()
    manager.sync_bundles_to_db(session=session)
    session.commit()
    for bundle in manager.get_all_dag_bundles():
        bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        if bag.import_errors:
            raise RuntimeError(f"DAGs that cannot be imported: {bag.import_errors}")
        sync_bag_to_db(bag, bundle.name, None, session=session)
    session.commit()
