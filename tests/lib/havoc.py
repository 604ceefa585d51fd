"""The kinds of faults of tests/reliability.py. Each is a function of the world: it does its worst while
producers append and the agent delivers, and leaves everything mended. Sleeps in here are the length of a
fault, not a way to wait for something."""
import os
import shutil
import signal
import time

import links
import rig
from world import Trouble

KINDS = {}


def kind(where, exactly=False, needs=(), with_kills=False):
    """where: agent, broker, link, topic. exactly: only where transactions are. needs: `own` (a cluster started
    here), `three` (brokers), `mount` (small disks). with_kills: the agent may be killed while it lasts."""
    def note(function):
        function.name = function.__name__.replace("_", "-")
        function.where, function.exactly, function.needs, function.with_kills = where, exactly, set(needs), with_kills
        KINDS[function.name] = function
        return function
    return note


def some(world, most=300):
    """A random moment: after so many more events."""
    world.progress(world.random.randrange(1, most))


# ---------------------------------------------------------------- the agent


@kind("agent")
def agent_killed(world):
    for _ in range(world.random.randrange(2, 6)):
        if world.random.random() < 0.6:
            some(world)
        else:
            time.sleep(world.random.uniform(0, 0.8))  # whatever it does just then
        world.kill_agent()
        world.start_agent()


@kind("agent")
def agent_restarted(world):
    some(world)
    if world.agent.terminate(60):
        raise Trouble(f"the agent did not end in order:\n{world.agent.log()[-2000:]}")
    world.start_agent()


@kind("agent")
def agent_frozen(world):
    for _ in range(world.random.randrange(2, 5)):
        some(world, 100)
        freeze(world, world.random.uniform(0.05, 1.5))


@kind("agent", exactly=True)
def transaction_timed_out_asleep(world):
    """Frozen in the middle of a transaction, until the broker has given that up: its records have left, and the
    answers, without which it cannot be ended, wait in the network until it sleeps."""
    for _ in range(5):  # held at its end instead, it is over at the broker
        some(world)
        world.links.hold_answers = True
        sent = world.links.seen.get(links.PRODUCE, 0)
        begun = time.monotonic()
        while world.links.seen.get(links.PRODUCE, 0) == sent and time.monotonic() - begun < 2:
            time.sleep(0.002)
        if world.links.seen.get(links.PRODUCE, 0) > sent or not world.links.seen:  # encrypted, none is seen
            break
        world.links.hold_answers = False
    os.kill(world.agent.process.pid, signal.SIGSTOP)
    world.links.hold_answers = False
    before = world.cluster.given_up()
    # A link that was slow a while ago has taught the agent a longer timeout than it was given.
    freeze(world, world.timeout + world.cleanup + 1, lambda: world.cluster.given_up() > before)
    world.tally["asleep beyond the transaction"] += 1
    world.tally["transactions given up by the brokers"] += world.cluster.given_up() > before


def freeze(world, seconds, done=None):
    """Where it can be told when it is `done`, up to a minute longer."""
    os.kill(world.agent.process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    begun = time.monotonic()
    while done and world.cluster.tells and not done() and time.monotonic() - begun < 60:
        time.sleep(0.2)
    os.kill(world.agent.process.pid, signal.SIGCONT)
    world.tally["agent freezes"] += 1


@kind("agent", exactly=True)
def zombie(world):
    """The agent sleeps, with a transaction open or not; its host is taken for dead and a copy of the disk goes
    on elsewhere; the agent wakes."""
    some(world)
    old = world.agent
    os.kill(old.process.pid, signal.SIGSTOP)
    time.sleep(0.2)  # appends that it will find when it wakes
    world.stop_producers()
    with world.moving:
        copy = world.new_store()
        shutil.copytree(world.store.path, copy.path)
        store = world.move(copy)
    world.start_agent()
    world.start_producers()
    some(world)
    os.kill(old.process.pid, signal.SIGCONT)
    world.wait("the zombie to park", lambda: "parked: marker-ahead" in old.log() or not old.running(), 60)
    if not old.running():
        raise Trouble(f"the zombie did not park:\n{old.log()[-2000:]}")
    some(world)
    old.kill()
    world.retire(store)
    world.tally["zombies"] += 1


@kind("agent", exactly=True)
def store_restored(world):
    """A backup of a while ago takes the place of the store: it must park, and go on where the cluster is, once
    told to."""
    some(world)
    world.stop_producers()
    backup = world.new_store()
    os.kill(world.agent.process.pid, signal.SIGSTOP)
    shutil.copytree(world.store.path, backup.path)
    os.kill(world.agent.process.pid, signal.SIGCONT)
    world.start_producers()
    world.progress(200)
    world.stop_producers()
    world.judge()
    world.kill_agent()
    with world.moving:
        lost = world.move(backup)
    world.start_producers()
    some_new = len(world.ledger) + 20
    world.wait("appends to the restored store", lambda: len(world.ledger) > some_new, 30)
    before = world.delivered()
    world.start_agent()
    world.wait("the restored store to park", lambda: "parked: marker-ahead" in world.agent.log() or world.ended(),
               60)
    if world.delivered() != before:
        raise Trouble("a restored store delivered before anybody had decided")
    world.agent.terminate()
    for choice, status in (("--adopt", 4), ("--adopt=trust-cluster", 0)):
        rig.run([*world.agent.argv, choice], expect=(status,), seconds=90)
    world.start_agent()
    some(world)
    world.retire(lost)
    world.tally["stores restored"] += 1


@kind("agent", exactly=True, needs=("own",))
def transactional_id_expired(world):
    """Nothing is committed for so long that the broker forgets who the agent is: it is down, or idle."""
    down = world.random.random() < 0.5
    some(world)
    if down:
        world.kill_agent()
    else:
        world.stop_producers()
        world.judge()
    name = f"sidelog-{world.store.stats()['store_id']}"
    world.wait("the transactional id to expire", lambda: name not in world.cluster.call("transactions", "list"),
               90, 1)
    world.tally["transactional ids expired"] += 1
    if down:
        world.start_agent()
    else:
        world.start_producers()
    some(world)


# ---------------------------------------------------------------- brokers


def one(world):
    return world.random.randrange(1, world.cluster.size + 1)


def up_again(world, which, why):
    world.cluster.up(which)
    if world.cluster.size == 1:
        world.resume(why)
    else:
        some(world, 100)


@kind("broker", needs=("own",), with_kills=True)
def broker_killed(world):
    some(world)
    which = one(world)
    world.cluster.kill(which)
    world.tally["broker kills"] += 1
    time.sleep(world.random.uniform(0, 3))
    up_again(world, which, "a broker killed")


@kind("broker", needs=("own",), with_kills=True)
def broker_restarted(world):
    some(world)
    which = one(world)
    world.cluster.stop(which)
    world.tally["broker restarts"] += 1
    up_again(world, which, "a broker restarted")


@kind("broker", needs=("own",), with_kills=True)
def broker_paused(world):
    some(world)
    which = one(world)
    world.cluster.pause(which)
    world.tally["broker pauses"] += 1
    time.sleep(world.random.choice((1, 3, 6, 12)))
    world.cluster.resume(which)
    world.resume("a broker paused")


@kind("broker", needs=("own", "three"), with_kills=True)
def every_broker_killed(world):
    some(world)
    for which in world.random.sample(range(1, 4), 3):
        world.cluster.kill(which)
        world.tally["broker kills"] += 1
    world.cluster.up()
    world.resume("all brokers killed")


def coordinator(world):
    """(partition of __transaction_state, the broker that leads it) for this store's agent."""
    number = 0
    for character in f"sidelog-{world.store.stats()['store_id']}":
        number = (number * 31 + ord(character)) & 0xFFFFFFFF  # as Java hashes a string
    partition = (number & 0x7FFFFFFF) % 4
    lines = world.topic_tool("leaders", "__transaction_state").splitlines()
    return partition, dict(tuple(map(int, line.split())) for line in lines)[partition]


@kind("broker", exactly=True, needs=("own", "three"), with_kills=True)
def coordinator_killed(world):
    some(world)
    _, leader = coordinator(world)
    world.cluster.kill(leader)
    world.tally["broker kills"] += 1
    some(world, 100)  # with another coordinator
    world.tally["coordinators moved"] += coordinator(world)[1] != leader
    world.cluster.up(leader)


@kind("broker", exactly=True, needs=("own", "three"))
def coordinator_moved(world):
    """From a broker that lives to another one that lives."""
    partition, leader = coordinator(world)
    for target in (world.random.choice([i for i in (1, 2, 3) if i != leader]), leader):
        some(world, 100)
        world.cluster.lead("__transaction_state", partition, target)
        world.wait("the coordinator to move", lambda target=target: coordinator(world)[1] == target, 60)
        world.tally["coordinators moved"] += 1


@kind("broker", needs=("own", "mount"))
def disk_full(world):
    """The first broker's disk has not a page left; later it has."""
    some(world)
    world.cluster.fill_disk()
    world.tally["disks full"] += 1
    end = time.monotonic() + 15
    while world.cluster.call("pid", 1).strip() and time.monotonic() < end:
        time.sleep(0.2)
    world.tally["brokers that ended of a full disk"] += not world.cluster.call("pid", 1).strip()
    world.cluster.free_disk()
    world.cluster.kill(1)
    up_again(world, 1, "a disk full")


# ---------------------------------------------------------------- the network


@kind("link", with_kills=True)
def link_cut(world):
    for _ in range(world.random.randrange(2, 8)):
        time.sleep(world.random.uniform(0, 0.5))  # a random moment
        world.links.cut()
        world.tally["links cut"] += 1
    world.resume("links cut")


@kind("link", with_kills=True)
def link_refused(world):
    some(world)
    world.links.refuse = True
    world.links.cut()
    begun = time.monotonic()
    time.sleep(world.random.uniform(1, 5))
    tries = [begun, *(t for t in tuple(world.links.tries) if t > begun)]
    world.longest_pause = max(world.longest_pause, *(b - a for a, b in zip(tries, tries[1:])), 0)
    world.links.refuse = False
    world.tally["links refused"] += 1
    world.resume("connections refused")


@kind("link", with_kills=True)
def link_slow(world):
    world.links.rate = world.random.choice((30_000, 60_000, 120_000))
    time.sleep(world.random.uniform(3, 8))
    world.links.rate = 0
    world.tally["links slowed"] += 1


@kind("link", with_kills=True)
def link_silent(world):
    """Nothing passes in either direction, nobody says so; then everything does."""
    some(world)
    world.links.hold_requests = world.links.hold_answers = True
    time.sleep(world.random.choice((1, 4, 8)))
    world.links.hold_requests = world.links.hold_answers = False
    world.tally["links silent"] += 1
    world.resume("a silence")


@kind("link")
def link_half_open(world):
    some(world)
    world.links.half_open()
    world.tally["links half-open"] += 1
    some(world)
    world.links.mend()


@kind("link")
def answers_lost(world):
    """What was asked is done, the answer never comes; the agent lives, or dies of something else at that
    moment."""
    for _ in range(world.random.randrange(2, 5)):
        some(world, 100)
        world.links.hold_answers = True
        time.sleep(world.random.uniform(0.02, 0.3))
        dies = world.random.random() < 0.5
        if dies:
            world.kill_agent()
        world.links.cut()
        world.links.hold_answers = False
        world.tally["answers lost"] += 1
        if dies:
            world.start_agent()


@kind("link", exactly=True)
def commit_held_in_the_network(world):
    """An EndTxn that the client has long sent again arrives, in the middle of a later transaction."""
    some(world, 100)
    world.links.hold(links.END_TXN)
    try:
        if not world.links.captured.wait(30):
            raise Trouble("no commit within 30 s")
        ends, begins = world.links.seen.get(links.END_TXN, 0), world.links.seen.get(links.INIT_PRODUCER_ID, 0)
        some(world, 100)
        world.tally["commits sent again"] += world.links.seen.get(links.END_TXN, 0) > ends
        if world.links.seen.get(links.INIT_PRODUCER_ID, 0) == begins:
            raise Trouble("the agent went on after a commit in doubt without a new epoch")
        world.links.release_after(links.PRODUCE)
        if not world.links.released.wait(30):
            raise Trouble("no records within 30 s")
        world.tally["commits held"] += 1
    finally:
        world.links.release()
    some(world)


# ---------------------------------------------------------------- topics


@kind("topic")
def topic_deleted(world):
    """Deleted while events are on their way to it; the agent makes it anew. What the deleted one held is gone
    with it."""
    some(world)
    world.judge()
    os.kill(world.agent.process.pid, signal.SIGSTOP)  # or it would make the topic anew before anybody saw it gone
    world.topic_tool("delete", world.doomed)
    os.kill(world.agent.process.pid, signal.SIGCONT)
    world.ledger.forget_places(world.doomed)
    world.topic_tool("await", world.doomed)
    book = world.ledger
    with book.lock:
        doomed = book.name_numbers.get(world.doomed)
        book.lost_with_topic.update(n for n in range(len(book)) if book.topic[n] == doomed)
    world.tally["topics deleted"] += 1
    some(world)
