"""Our side of the benchmark of peers: the same rows as theirs, in a fresh process, timed as they time themselves.

    python -m benchmarks._ours URL FOLDER --rows 2000 --conc 50 --scenario text

Prints a RESULT line as theirs: `gen_s` from the first line that is about the rows to the last value read back
(what is written to the run folder meanwhile, files and all, is in it), and `wall_s` from the start of this module.
"""

import time

T0 = time.perf_counter()

import argparse  # noqa: E402
import resource  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

# what is loaded when it is first needed: the peers load all of theirs before their clock starts
import dspy  # noqa: E402, F401
import pyarrow.parquet  # noqa: E402, F401

import stillroom as st  # noqa: E402
from stillroom.engines import HttpEngine, open_session  # noqa: E402
from stillroom.programs import Plan  # noqa: E402
from stillroom.programs.export import write_rows  # noqa: E402
from stillroom.programs.flow import Ask, Flow, Inputs, run_flow  # noqa: E402
from stillroom.programs.plan import Decoding  # noqa: E402
from stillroom.signatures import Field, Shape  # noqa: E402

TEXT = {"type": "string"}
NOTE = "Write a question about the topic."


def answered(url: str, folder: Path, topics: list[dict[str, Any]], at_once: int, scenario: str) -> list[Any]:
    """The answers, in the order of the rows."""
    engine = HttpEngine(url, "mock", max_concurrency=at_once)

    def plan(reads: str, task: str, **writes: Any) -> Plan:
        shape = Shape(
            "Step", task, (Field(reads, TEXT, reads),), tuple(Field(name, each, name) for name, each in writes.items())
        )
        decoding = Decoding(temperature=1.0, max_tokens=128)
        return Plan(shape, engine.model, task, format="json" if len(writes) > 1 else "bare", decoding=decoding)

    try:
        if scenario == "chain3":
            asks = (
                Ask("ask", plan("topic", NOTE, question=TEXT)),
                Ask("answer-it", plan("question", "Answer the question.", answer=TEXT)),
                Ask("score-it", plan("answer", "Score the answer.", score=TEXT)),
            )
            flow = Flow("chain3", Inputs(topics, asks[0].plan.shape.inputs), asks)
            with open_session(engine, folder, "emit", {}) as session:
                emitted = run_flow(flow, session)
            write_rows(emitted, folder)
        else:
            more = {} if scenario == "text" else {"answer": TEXT, "score": {"type": "integer"}}
            emitted = st.answer(plan("topic", NOTE, question=TEXT, **more), topics, lm=engine, run=folder)
        return [row.values for row in emitted.rows]
    finally:
        engine.close()


def main() -> None:
    """Answer, and print how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--conc", type=int, default=50)
    parser.add_argument("--scenario", choices=["text", "json", "chain3"], default="text")
    args = parser.parse_args()
    topics = [{"id": number, "topic": f"topic number {number}"} for number in range(args.rows)]
    began = time.perf_counter()
    values = answered(args.url, args.folder, topics, args.conc, args.scenario)
    seconds = time.perf_counter() - began
    whole = sum(bool(row["question"]) for row in values)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        f"RESULT tool=ours scenario={args.scenario} rows_out={whole} gen_s={seconds:.3f} "
        f"wall_s={time.perf_counter() - T0:.2f} cpu_s={sum(each.ru_utime + each.ru_stime for each in used):.2f} "
        f"peak_rss_mb={sum(each.ru_maxrss for each in used) // 1024}"
    )


if __name__ == "__main__":
    main()
