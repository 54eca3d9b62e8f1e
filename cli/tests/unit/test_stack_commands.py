"""The commands of the stack, over a real supervisor of stand-ins."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from cli.__main__ import COMMANDS, build, needed
from cli.commands import stack as stack_commands
from cli.session import find_login
from local_stack.first_answer import Greeting, Login
from local_stack.testing import SmallStack

Faq = Callable[..., Any]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallStack]:
    with SmallStack(tmp_path_factory.mktemp("stack") / "home") as made:
        made.up(2)
        yield made


@pytest.fixture
def at_home(small: SmallStack, monkeypatch: pytest.MonkeyPatch) -> SmallStack:
    monkeypatch.setenv("MULTIDB_HOME", str(small.home.folder))
    return small


def test_status_lists_every_process_for_a_person_and_for_a_program(faq: Faq, at_home: SmallStack) -> None:
    shown, parsed = faq("status").out, faq("status", "--json").json

    assert [row["name"] for row in parsed["processes"]] == ["gateway", "chat-service", "chat-service", "supervisor"]
    assert "chat-service-2" in shown
    assert shown.splitlines()[-1] == parsed["gateway"] == f"http://127.0.0.1:{at_home.port}"


def test_a_name_is_stopped_and_started_with_all_its_replicas(faq: Faq, at_home: SmallStack) -> None:
    stopped = faq("stop", "chat-service")
    states = at_home.states()
    started = faq("start", "chat-service")

    assert stopped.err.strip() == "chat-service is stopped"
    assert states == {"gateway-1": "ready", "chat-service-1": "stopped", "chat-service-2": "stopped"}
    assert started.err.strip() == "chat-service is ready"
    assert set(at_home.states().values()) == {"ready"}


def test_one_replica_is_restarted_by_its_own_name(faq: Faq, at_home: SmallStack) -> None:
    before = at_home.pids("chat-service")

    assert faq("restart", "chat-service-2").code == 0

    after = at_home.pids("chat-service")
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


@pytest.mark.usefixtures("at_home")
def test_an_unknown_name_is_refused_with_the_known_ones(faq: Faq) -> None:
    ran = faq("stop", "chat")

    assert ran.code == 8
    assert ran.err.strip() == "No process is called chat; there are chat-service, gateway"


@pytest.mark.usefixtures("at_home")
def test_logs_of_a_name_without_any_are_a_usage_error(faq: Faq) -> None:
    assert faq("logs", "nonsense").code == 2
    assert faq("logs").code == 0


def test_with_nothing_running_each_command_says_so(faq: Faq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIDB_HOME", str(tmp_path / "nothing"))

    assert faq("status").code == 5
    assert faq("status", "--json").json == {"gateway": None, "processes": []}
    assert faq("down").err.strip() == "nothing was running"


@pytest.mark.parametrize("words", [["--nodes", "2"], ["--replicas", "chat-service=0"], ["--replicas", "chat"]])
def test_what_cannot_be_had_is_a_usage_error(faq: Faq, words: list[str]) -> None:
    assert faq("up", *words).code == 2


WHOLE = Greeting(
    gateway="http://127.0.0.1:1",
    problems=(),
    failure=None,
    login=Login("demo@example.com", "secret", "a", "r"),
    answer={"outcome": "answered", "confidence": 0.9, "reply": "Yes."},
    health={"status": "ok"},
)


def test_the_greeting_ends_with_login_and_address(capsys: pytest.CaptureFixture[str]) -> None:
    stack_commands._print_greeting(WHOLE, as_json=False)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "First answer, 90% sure: Yes."
    assert lines[1] == "Login: demo@example.com  secret"
    assert lines[-1] == WHOLE.gateway


def test_a_failed_check_is_told_after_login_and_address_and_the_login_is_kept(
    faq: Faq, at_home: SmallStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = f"http://127.0.0.1:{at_home.port}"
    failed = Greeting(gateway, (), "it got no whole reply: Away.", WHOLE.login, None, {"status": "ok"})
    monkeypatch.setattr("local_stack.first_answer.greet", lambda *_: failed)
    monkeypatch.setenv("GATEWAY_PORT", str(at_home.port))

    ran = faq("up")

    assert ran.code == 8
    assert "Login: demo@example.com  secret" in ran.out
    assert ran.out.splitlines()[-1] == gateway
    assert ran.err.splitlines()[-1] == "Everything runs, but the check failed: it got no whole reply: Away."
    assert find_login(gateway) is not None


def test_a_command_imports_only_its_own_module_and_no_command_is_left_out() -> None:
    assert needed(["status"]) == ["stack"]
    assert needed(["--url", "http://x", "ask", "hi"]) == ["conversation"]
    assert needed(["--help"]) == list(COMMANDS)
    registered = {str(c.name or c.callback.__name__) for c in build().registered_commands if c.callback}
    groups = {str(group.name) for group in build().registered_groups}
    assert registered | groups == {command for commands in COMMANDS.values() for command in commands}


def test_the_version_is_told_without_importing_what_commands_need() -> None:
    code = "import sys; from cli.__main__ import main; sys.argv = ['faq', '--version']; main(); print(*sys.modules)"
    version, modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split("\n", 1)

    assert version.startswith("faq ")
    assert not {"typer", "rich", "httpx2", "click", "local_stack"} & set(modules.split())


def client_alone(folder: Path) -> Path:
    """A folder with the client and everything it declares to need, each from the installed distribution."""
    folder.mkdir()
    (folder / "cli").symlink_to(Path(stack_commands.__file__).parents[1])
    for one in declared_by("multidb-cli"):
        for file in distribution(one).files or ():
            top = file.parts[0]
            if top != ".." and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution(one).locate_file(top))))
    return folder


def declared_by(name: str) -> set[str]:
    """The distributions it needs without any extra, and theirs; not itself."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for requirement in map(Requirement, distribution(waiting.pop()).requires or ()):
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in found:
                found.add(requirement.name)
                waiting.append(requirement.name)
    return found


def test_the_client_needs_no_other_package_of_ours() -> None:
    assert [name for name in declared_by("multidb-cli") if name.startswith("multidb")] == []


def test_the_client_alone_asks_and_says_how_to_get_the_stack(twin: Any, tmp_path: Path) -> None:
    site = client_alone(tmp_path / "site")
    twin.says("POST /chat/message", 200, {"reply": "Yes.", "outcome": "answered", "message_id": "m"})
    twin.says("POST /auth/login", 200, {"access_token": "a", "refresh_token": "r"})

    def faq(*words: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, {str(site)!r}); from cli.__main__ import main; "
        code += f"sys.argv = ['faq', *{list(words)!r}]; main()"
        env = {"HOME": str(tmp_path), "FAQ_PASSWORD": "x", "PATH": ""}
        # -S: without site nothing else can be imported, neither what is installed nor the editable packages
        command = [sys.executable, "-I", "-S", "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)

    assert faq("--version").stdout.startswith("faq ")
    assert faq("--url", twin.url, "login", "ada@example.com").returncode == 0
    assert json.loads(faq("--url", twin.url, "ask", "--json", "hi").stdout)["reply"] == "Yes."
    assert "up" in faq("--help").stdout
    told = faq("up")
    assert (told.returncode, told.stderr.strip()) == (3, stack_commands.NOT_INSTALLED)
