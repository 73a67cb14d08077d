"""What a run ends with on the terminal: the result in a sentence, cost and time, and what to do next. Called by cli."""

from __future__ import annotations

from distill.pipeline.refresh import EXIT
from distill.pipeline.run import Run
from distill.stages import STAGES
from distill.tables import counted


def finish(run: Run) -> int:
    """Say how the run came out, from what is in its folder; also where nothing had to be made.

    Returns the exit status: 0, but of a refresh what its verdict says (`refresh.EXIT`).
    """
    from distill.report.choice import choice
    from distill.report.deploy import flags, served
    from distill.report.evaluated import evaluation_sets
    from distill.report.files import RunFiles
    from distill.report.refresh import refreshed
    from distill.report.result import DISPUTES, headline, main_set
    from distill.report.words import duration

    files = RunFiles(run.folder)
    sets = evaluation_sets(files)
    title, sentences = headline(files, sets)
    seconds = sum(files.counts(stage.name).seconds or 0 for stage in STAGES)
    cost = files.cost_usd
    paid = "" if cost is None else f"the teacher cost {cost:,.2f} USD; "
    if files.unpriced_tokens:
        paid = f"what the teacher cost is not known ({files.unpriced_tokens:,} tokens without a price); "
    run.say(f"\n{' '.join([title, *sentences])}\n{_capital(paid)}the stages took {duration(seconds)}.\n")
    by_filter = files.counts("filter").by_filter
    disputes = sum(by_filter[name].rejected for name in DISPUTES if name in by_filter)
    steps = [(f"open {run.folder / 'report.html'}", "the report")]
    if disputes:
        steps.append((f"distill view {run.folder}", f"decide {counted(disputes, 'dispute')} of teacher and label"))
    main = main_set(sets)
    if main is not None:
        chosen = choice(files, main)
        student = served(files, main, chosen.system or main.students[0])
        if student is not None:
            name, mode, budget = student
            what = f"the student {name} over HTTP"
            if chosen.system is None:
                what += f", to try it; the report's advice: {chosen.title[:1].lower()}{chosen.title[1:]}"
            steps.append((f"distill serve --model {run.students / name} {flags(mode, budget)}", what))
    width = max(len(command) for command, _ in steps)
    for command, what in steps:
        run.say(f"  {command:<{width}}   {what}")
    result = files.metrics.refresh if run.config.refresh else None
    if result is None:
        return 0
    run.say(f"\n{_capital(refreshed(result))} (exit status {EXIT[result.verdict]})")
    return EXIT[result.verdict]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
