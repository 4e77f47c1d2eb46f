"""The workers of a run: up to four processes of the test worker, which are hit, and started again when they have ended."""
import os
import shutil
import subprocess
import time
from collections import Counter

from tests.faults.schedule import FIRST_SLOTS, SLOTS
from tests.support.fleet import Role
from tests.support.kafka import ROOT, die_with_parent

BINARY = os.environ.get("TRIAL_BIN", str(ROOT / "build" / "release" / "bin" / "trial"))
STATIC_SLOTS = (0, 1)    # these have a name that stays over restarts, the others have not
RESTART_SECONDS = (0, 3)
END_SECONDS = 45         # from SIGTERM to the end; draining takes 5
START_AGAIN = 111


def guest(slot):
    return f"w{slot}"


class Slot:
    def __init__(self, number):
        self.number = number
        self.is_wanted = number < FIRST_SLOTS
        self.role = None
        self.start_at = 0
        self.is_killed = False
        self.terminated_at = None


class Crew:
    """Everything here is called from one thread, which lives as long as the run: a process ends with the thread that
    has started it."""

    def __init__(self, cluster, prefix, folder, chance):
        self.cluster, self.prefix, self.folder, self.chance = cluster, prefix, folder, chance
        self.slots = [Slot(number) for number in range(SLOTS)]
        self.counts = Counter()
        self.complaints = []
        self.logs = []

    def trace_path(self, slot):
        return self.folder / f"trace-{slot}.txt"

    def stall_path(self, slot):
        return self.folder / f"stall-{slot}"

    def _start(self, slot):
        number = slot.number
        log = self.folder / f"worker-{number}-{self.counts[f'starts of {number}']}.log"
        self.counts[f"starts of {number}"] += 1
        instance = ["--instance", f"slot{number}"] if number in STATIC_SLOTS else []
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")}
        environment = {**kept, "TAGFLEET_KAFKA_BROKERS": self.cluster.address_for(guest(number)),
                       "TAGFLEET_KAFKA_PREFIX": self.prefix}
        with open(log, "w") as stream:
            process = subprocess.Popen(
                [BINARY, "trial", *instance, "--set", f"trial.trace={self.trace_path(number)}",
                 "--set", f"trial.stall={self.stall_path(number)}"],
                env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        slot.role = Role(f"slot {number}", process, log)
        slot.is_killed, slot.terminated_at = False, None
        self.logs.append(log)

    def _complain(self, text):
        self.counts["crashed"] += 1
        self.complaints.append(f"crashed: {text}")

    def _write_stacks(self, role):
        """Where each thread of a process stands that should be gone, if there is a debugger on this machine."""
        if shutil.which("gdb"):
            with open(f"{role.log_path}.stacks", "w") as stream:
                subprocess.run(["gdb", "-p", str(role.pid), "-batch", "-ex", "thread apply all bt 16"], stdout=stream,
                               stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=30)

    def _ended(self, slot):
        code = slot.role.process.returncode
        if code == START_AGAIN:
            self.counts["asked_restart"] += 1
        elif not (code == 0 and slot.terminated_at is not None) and not (code == -9 and slot.is_killed):
            self._complain(f"exit code {code} of process {slot.role.pid}, see {slot.role.log_path}")
        slot.role = None
        slot.start_at = time.monotonic() + self.chance.uniform(*RESTART_SECONDS)

    def tend(self):
        """Takes note of those that have ended, and starts those that are due."""
        for slot in self.slots:
            if slot.role is not None and slot.role.process.poll() is not None:
                self._ended(slot)
            elif slot.terminated_at is not None and time.monotonic() > slot.terminated_at + END_SECONDS:
                self._write_stacks(slot.role)
                self._complain(f"process {slot.role.pid} does not end after SIGTERM, see {slot.role.log_path}*")
                self.kill(slot.number)
            if slot.role is None:
                slot.terminated_at = None
                if slot.is_wanted and time.monotonic() >= slot.start_at:
                    self._start(slot)

    # --- faults; each answers whether there was somebody to hit ---

    def kill(self, number):
        slot = self.slots[number]
        if slot.role is None:
            return False
        slot.is_killed, slot.terminated_at = True, None
        slot.role.kill()
        return True

    def terminate(self, number):
        slot = self.slots[number]
        if slot.role is None:
            return False
        slot.terminated_at = time.monotonic()
        slot.role.process.terminate()
        return True

    def pause(self, number):
        role = self.slots[number].role
        if role is not None and role.process.poll() is None:
            role.pause()
        return role is not None

    def resume(self, number):
        if self.slots[number].role is not None:
            self.slots[number].role.resume()

    def stall(self, number):
        self.stall_path(number).touch()
        return True

    def add(self, number):
        self.slots[number].is_wanted = True
        return True

    def remove(self, number):
        self.slots[number].is_wanted = False
        self.terminate(number)
        return True

    # --- the end of a run ---

    def make_whole(self):
        """Everybody is there and nobody is held up."""
        for slot in self.slots:
            self.stall_path(slot.number).unlink(missing_ok=True)
            self.resume(slot.number)
            slot.is_wanted = True

    def is_empty(self):
        return all(slot.role is None for slot in self.slots)

    def dismiss(self):
        for slot in self.slots:
            self.remove(slot.number)

    def kill_all(self):
        for slot in self.slots:
            slot.is_wanted = False
            self.kill(slot.number)
