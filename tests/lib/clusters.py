"""The cluster under test: one started here, or one that somebody has."""
import os
import pathlib
import shutil
import subprocess

import rig

GIB = 1 << 30


class Own(rig.Cluster):
    """Brokers of broker.sh, with short terms for transactions, their ids and idle connections. Where this
    process may mount (see can_mount), the first broker's disk is one whose size can be changed."""

    cleanup = 1.5
    tells = True  # given_up

    def __init__(self, brokers, kafka, small_disk):
        super().__init__(brokers, up=False, kafka=kafka, set=[
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
            "transactional.id.expiration.ms=6000",
            "transaction.remove.expired.transaction.cleanup.interval.ms=1000", "connections.max.idle.ms=5000"])
        self.data = pathlib.Path(self.dir, "broker-1", "data")
        self.mounted = small_disk
        if small_disk:
            self.data.rename(self.data.with_name("formatted"))
            self.data.mkdir()
            rig.run(["mount", "-t", "tmpfs", "-o", f"size={8 * GIB}", "none", str(self.data)])
            shutil.copytree(self.data.with_name("formatted"), self.data, dirs_exist_ok=True)
        self.up()

    def abilities(self):
        return {"own"} | ({"three"} if self.size == 3 else set()) | ({"mount"} if self.mounted else set())

    def lead(self, topic, partition, which):
        self.call("lead", topic, partition, which)

    def resize(self, size):
        rig.run(["mount", "-o", f"remount,size={size}", str(self.data)])

    def fill_disk(self):
        while True:  # it is being written to, and cannot become smaller than what is on it
            disk = os.statvfs(self.data)
            used = (disk.f_blocks - disk.f_bfree) * disk.f_bsize
            try:
                self.resize(used + (64 << 10))
                return
            except rig.Failed:
                pass

    def free_disk(self):
        self.resize(8 * GIB)

    def given_up(self):
        """How many transactions the coordinators have rolled back for their time, as far as their logs go back."""
        logs = (log for log in pathlib.Path(self.dir).glob("broker-*/*log*") if log.is_file())
        return sum(log.read_text(errors="replace").count("due to timeout") for log in logs)

    def evidence(self, to):
        for log in pathlib.Path(self.dir).glob("broker-*/*log*"):
            if log.is_file():
                shutil.copy(log, to / f"{log.parent.name}-{log.name}")

    def down_with(self, _world):
        if self.mounted:
            for which in range(1, self.size + 1):
                self.kill(which)
            subprocess.run(["umount", "-l", str(self.data)], check=False)
        self.down()


class Outside:
    """A cluster that is there already: only its address is known, and nothing is done to it but to delete the
    topics of this run, one of them now and then, all at the end."""

    cleanup = 11  # transaction.abort.timed.out.transaction.cleanup.interval.ms is 10 s where nobody has changed it
    size = 0
    tells = False

    def __init__(self, brokers, settings):
        self.brokers = brokers
        self.extra = [word for setting in settings for word in ("-X", setting)]

    def abilities(self):
        return set()

    def given_up(self):
        return 0  # it does not tell

    def evidence(self, to):
        pass

    def down_with(self, world):
        world.topic_tool("delete", *world.topics, world.progress_topic)


def can_mount():
    """Whether this process is in a mount namespace of its own, so that what it mounts ends with it."""
    return os.environ.get("SIDELOG_OWN_MOUNTS") == "1"


def own_mounts(argv):
    """Becomes the same program in such a namespace, where that is possible; returns otherwise."""
    if can_mount():
        return
    wrapped = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        wrapped += ["--user", "--map-root-user"]
    if shutil.which("unshare") and subprocess.run([*wrapped, "true"], capture_output=True,
                                                  check=False).returncode == 0:
        os.execvpe(wrapped[0], [*wrapped, *argv], {**os.environ, "SIDELOG_OWN_MOUNTS": "1"})
