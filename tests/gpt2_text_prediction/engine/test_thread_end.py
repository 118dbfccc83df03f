"""thread_end and the ends of programs: nothing crashes, hangs or is waited for, however a text is left."""

import subprocess
import sys
import textwrap
import threading

import pytest

from gpt2_text_prediction import Sampling, TextGenerator
from gpt2_text_prediction.engine import thread_end
from gpt2_text_prediction.engine.thread_end import wait_for_end
from support import HANGS_AFTER
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=16)
LONG = "Sampling(temperature=0, ignore_eos=True), max_new_tokens=10**7, rules=TextRules(context_overflow='slide')"


@pytest.fixture(scope="module")
def ir(tmp_path_factory):
    return TOY.ir(tmp_path_factory.mktemp("ends"))


def program(ir, ending: str) -> subprocess.CompletedProcess:
    """Run a program that has begun a text without an end, and then ends itself."""
    source = f"""
        import os, sys, threading
        from gpt2_text_prediction import Problem, Sampling, TextGenerator, TextRules

        def begun():
            stream = iter(generator.stream("the", {LONG}))
            next(stream)
            return stream

        generator = TextGenerator({str(ir)!r})
    """
    source = textwrap.dedent(source) + textwrap.dedent(ending)
    command = [sys.executable, "-X", "faulthandler", "-c", source]
    return subprocess.run(command, capture_output=True, timeout=HANGS_AFTER, text=True, check=False)


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("text = begun()", 0),
        ("text = begun(); sys.exit(3)", 3),
        ("text = begun(); raise ZeroDivisionError", 1),
        ("thread = threading.Thread(target=begun, daemon=True); thread.start(); thread.join()", 0),
    ],
    ids=["the normal end", "sys.exit", "an exception", "a daemon's text"],
)
def test_a_program_that_leaves_a_text_ends(ir, ending, code):
    done = program(ir, ending)
    assert done.returncode == code, done.stderr
    assert "Fatal" not in done.stderr


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_in_a_forked_process_the_generator_says_so_and_waits_for_nothing(ir):
    done = program(
        ir,
        """
        text = begun()
        child = os.fork()
        if not child:
            try:
                generator.generate(["the"])
            except Problem as problem:
                print(problem, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        text.close()
        print(len(generator.generate(["the"], Sampling(temperature=0), max_new_tokens=2)[0].tokens))
        """,
    )
    child, parent = done.stdout.splitlines()
    assert child.startswith("this process was forked from the one that loaded the model")
    assert (parent, done.returncode) == ("2", 0)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
@pytest.mark.parametrize("begin", ["begun()", "iter(())"], ids=["while a text runs", "while it is idle"])
def test_a_forked_process_reads_no_text_of_its_parent_s_and_ends_as_any_other(ir, begin):
    done = program(
        ir,
        f"""
        generator.generate(["the"], Sampling(temperature=0), max_new_tokens=2)
        text = {begin}
        child = os.fork()
        if not child:
            try:
                print("".join(text), flush=True)
            except Problem as problem:
                print(problem, flush=True)
            generator.close()
            del generator, text
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    said, code = done.stdout.splitlines()
    assert said.startswith("this process was forked from the one that loaded the model") or begin == "iter(())"
    assert (code, done.returncode) == ("5", 0)


def test_a_clock_that_exits_or_calls_the_generator_is_an_error(ir):
    def calls_back() -> float:
        generator.generate(["x"])
        return 0.0

    times = iter([0.0])
    with TextGenerator(ir, config=ONE_THREAD) as generator:
        with pytest.raises(SystemExit):
            "".join(generator.stream("the", max_new_tokens=3, clock=lambda: next(times, None) or sys.exit(1)))
        stream = generator.stream("the", max_new_tokens=3)
        started = threading.Event()

        def clock() -> float:
            if started.is_set():
                return calls_back()
            started.set()
            return 0.0

        stream = generator.stream("the", max_new_tokens=3, clock=clock)
        with pytest.raises(RuntimeError, match="would wait for itself"):
            "".join(stream)
        assert generator.generate(["the"], Sampling(temperature=0), max_new_tokens=2)[0].tokens


@pytest.mark.skipif(not thread_end.TASKS.exists(), reason="only Linux shows its threads")
def test_a_thread_has_ended_for_the_system_too():
    for _ in range(200):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        wait_for_end([thread])
        assert not (thread_end.TASKS / str(thread.native_id)).exists()


def test_a_living_thread_and_the_own_one_are_not_waited_for():
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    wait_for_end([thread, threading.current_thread()])
    go.set()
    thread.join()
