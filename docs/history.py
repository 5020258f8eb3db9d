# A marimo notebook: `marimo edit docs/history.py` opens it, `python docs/history.py` runs it as a script.
# TAGSTACK_EXPORT is the folder of an export (`tagstack export DIR`); the shipped sample without it.
# TAGSTACK_PLOTS is a folder that the plots are written to, as JSON of Vega-Lite.

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="tagstack: history in five plots")


@app.cell
def _():
    import os
    from pathlib import Path

    import altair as alt
    import duckdb
    import marimo as mo

    folder = Path(os.environ.get("TAGSTACK_EXPORT") or Path(__file__).parent / "sample")
    plots = os.environ.get("TAGSTACK_PLOTS")

    def rows(sql):
        """Return the rows of a statement as dictionaries; {name} in it is a file of the export."""
        files = {path.stem: f"read_parquet('{path}')" for path in folder.glob("*.parquet")}
        found = duckdb.sql(sql.format_map(files))
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    def shown(name, chart):
        """Return a chart, and write it where the plots are to go."""
        if plots:
            chart.save(Path(plots) / f"{name}.json")
        return chart.properties(width=640)

    return alt, mo, rows, shown


@app.cell
def _(mo):
    mo.md(
        """
        # History in five plots

        Every push, promotion, rollback and hold is an event. These plots ask the read models that are folded
        from them, as `tagstack export` writes them. The relations are described in `docs/sql.md`.
        """
    )


@app.cell
def _(alt, mo, rows, shown):
    churn = rows(
        """
        SELECT date_trunc('week', day) AS week, namespace, sum(moves)::INTEGER AS moves
          FROM {churn_per_day} GROUP BY ALL ORDER BY ALL
        """
    )
    churn_plot = shown(
        "churn",
        alt.Chart(alt.Data(values=[row | {"week": row["week"].isoformat()} for row in churn]))
        .mark_bar()
        .encode(
            x=alt.X("yearmonthdate(week):T", title="week"),
            y=alt.Y("moves:Q", title="moves"),
            color=alt.Color("namespace:N", title="project"),
        )
        .properties(title="How much moves, per week"),
    )
    mo.vstack([mo.md("## How much moves?"), churn_plot])


@app.cell
def _(alt, mo, rows, shown):
    stays = rows(
        """
        SELECT image_stream || ':' || tag AS tag, image[8:19] AS image, origin, actor, valid_from,
               coalesce(valid_to, (SELECT max(valid_from) FROM {tag_history})) AS valid_to
          FROM {tag_history} WHERE namespace = 'prod' ORDER BY position
        """
    )
    stays = [row | {each: row[each].isoformat() for each in ("valid_from", "valid_to")} for row in stays]
    timeline = alt.Chart(alt.Data(values=stays)).encode(y=alt.Y("tag:N", title=None))
    timeline_plot = shown(
        "timeline",
        (
            timeline.mark_bar(height=16).encode(
                x=alt.X("valid_from:T", title=None),
                x2="valid_to:T",
                color=alt.Color("image:N", legend=None),
                tooltip=["image:N", "actor:N", "origin:N"],
            )
            + timeline.transform_filter("datum.origin == 'rollback'")
            .mark_point(shape="triangle-left", filled=True, size=90, color="crimson")
            .encode(x="valid_from:T")
        ).properties(title="What production ran; triangles are rollbacks"),
    )
    mo.vstack([mo.md("## What ran when?"), timeline_plot])


@app.cell
def _(alt, mo, rows, shown):
    lead = rows(
        "SELECT image_stream, \"lead\" / 3600 AS hours FROM {tag_lead_time} WHERE namespace = 'prod' AND tag = 'latest'"
    )
    lead_plot = shown(
        "lead-time",
        alt.Chart(alt.Data(values=lead))
        .mark_circle(size=70, opacity=0.6)
        .encode(
            x=alt.X("hours:Q", title="hours from the first tag to production"),
            y=alt.Y("image_stream:N", title=None),
            color=alt.Color("image_stream:N", legend=None),
        )
        .properties(title="How long images take to production"),
    )
    mo.vstack([mo.md("## How fast are we?"), lead_plot])


@app.cell
def _(alt, mo, rows, shown):
    bad = rows(
        """
        SELECT namespace || '/' || image_stream || ':' || tag || ', ' || strftime(valid_from, '%m-%d') AS rollback,
               bad_for / 3600 AS hours, actor, reason
          FROM {rollbacks} WHERE origin = 'rollback' ORDER BY valid_from
        """
    )
    bad_plot = shown(
        "rollbacks",
        alt.Chart(alt.Data(values=bad))
        .mark_bar(color="crimson")
        .encode(
            x=alt.X("hours:Q", scale=alt.Scale(type="symlog"), title="hours until it was rolled back"),
            y=alt.Y("rollback:N", sort=None, title=None, axis=alt.Axis(labelLimit=300)),
            tooltip=["actor:N", "reason:N"],
        )
        .properties(title="How long bad images lived"),
    )
    mo.vstack([mo.md("## How long do mistakes live?"), bad_plot])


@app.cell
def _(alt, mo, rows, shown):
    acts = rows(
        """
        SELECT actor, origin, count(*) AS moves
          FROM {tag_history} WHERE caused_by IS NULL AND origin <> 'alias' GROUP BY ALL ORDER BY ALL
        """
    )
    acts_plot = shown(
        "actors",
        alt.Chart(alt.Data(values=acts))
        .mark_bar()
        .encode(
            x=alt.X("moves:Q", title="moves"),
            y=alt.Y("actor:N", sort="-x", title=None),
            color=alt.Color("origin:N", title="how"),
        )
        .properties(title="Who moves tags, and how"),
    )
    mo.vstack([mo.md("## Who does what?"), acts_plot])


if __name__ == "__main__":
    app.run()
