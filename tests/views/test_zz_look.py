import os, threading
from datetime import timedelta, datetime, timezone
from safe_clear_plugin.web import pages
from tests.support.auth import login, token
from tests.support.factories import *
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, task
from werkzeug.serving import make_server
START = datetime(2026, 11, 1, tzinfo=timezone.utc)

def sales():
    with DAG("sales_etl", schedule="@hourly", start_date=START) as dag:
        @task
        def per_region(region): return region
        with TaskGroup("extract") as extract:
            EmptyOperator(task_id="orders"); EmptyOperator(task_id="fx_rates")
        with TaskGroup("transform") as transform:
            EmptyOperator(task_id="clean") >> EmptyOperator(task_id="join") >> EmptyOperator(task_id="totals")
        with TaskGroup("load") as load:
            per_region.expand(region=["eu", "us", "apac"]) >> EmptyOperator(task_id="publish")
        with TaskGroup("report") as report:
            EmptyOperator(task_id="daily")
        extract >> transform >> load >> report
    return dag

def test_look(app, client, session):
    dag = sales()
    store_dag(dag, session=session)
    hours = int(os.environ.get("HOURS", "40")); step = int(os.environ.get("STEP", "1"))
    for h in range(-3, hours + 3):
        bad = h % 9 == 4
        last = h >= hours - 2
        run = make_run(dag, session=session, logical_date=START + timedelta(hours=h * step), run_type="scheduled",
                       state="running" if last and h < hours else "failed" if bad else "success", task_state="success")
        if bad:
            set_states(run, {("load.per_region", 1): "failed", "load.publish": "upstream_failed", "report.daily": "upstream_failed"}, session=session)
        if last and h < hours:
            set_states(run, {("load.per_region", 2): "running", "load.publish": None, "report.daily": None}, session=session)
    login(client, "admin")
    from tests.support.auth import bearer
    body = {"dag_id": "sales_etl", "task_regex": r"^load\.per", "date_from": "2026-11-01", "date_to": (START + timedelta(hours=(hours - 1) * step)).isoformat()}
    r = client.post("/safe_clear/plans", json=body, headers=bearer("admin"))
    assert r.status_code == 201, r.text
    plan = r.get_json()
    page = client.get(f"/safe_clear/plans/{plan['id']}?{os.environ.get('QUERY', '')}")
    assert page.status_code == 200, page.text
    print("bytes", len(page.data))
    open("/tmp/g/page.html", "w").write(page.text)
    server = make_server("127.0.0.1", 8731, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    open("/tmp/g/info", "w").write(plan["id"] + " " + token("admin"))
    import time, pathlib
    pathlib.Path("/tmp/g/stop").unlink(missing_ok=True)
    for _ in range(int(os.environ.get("SERVE", "900"))):
        time.sleep(1)
        if pathlib.Path("/tmp/g/stop").exists(): break
    server.shutdown()
