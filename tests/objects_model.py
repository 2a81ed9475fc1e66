"""A small model of how the objects of a bucket get their names and lose them, and a search through all that can happen.

What is modelled: one content, sessions that upload and name it, sessions that read it, a remover, a reaper that may
declare any session dead at any time, a collector, a sweep through the bucket, and a network that delays, repeats and
loses requests. Each transition is one transaction of the database, or the arrival of one request: whatever happens
between two of them, the search has seen. `orlop.store.rows.keys` describes the states of a key.

`Rules` are what protects the content. With all of them `explore` finds no broken promise in any state; without one of
them it returns the shortest way to one, which the tests name.

Only the order of epochs matters, so each state is stored with its epochs numbered anew: they grow without end, and the
number of states does not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

UNSTAMPED: Final = 1 << 20
"""The stamp of what was doomed and not looked at since: later than every pin."""

LOST: Final = "a row leads to bytes that are not there"
TORN: Final = "bytes went while a living session read them"
TWICE: Final = "a key is in two states"

IDLE, OPEN, SENT, STORED, RELYING, READING, DONE = "idle", "open", "sent", "stored", "relying", "reading", "done"
VIEWING: Final = "viewing"


@dataclass(frozen=True)
class Rules:
    """What protects the content; each may be switched off."""

    fence: bool = True
    """A session that was declared dead commits nothing."""
    fresh: bool = True
    """Every upload has a key that was never used."""
    epoch: bool = True
    """What is doomed goes when all living sessions have pinned its stamp."""
    recheck: bool = True
    """A commit looks again for what it relies on."""
    stamp_later: bool = True
    """The stamp is taken in a transaction after the one that doomed."""
    list_first: bool = True
    """The sweep lists the bucket before it asks which keys are known."""
    pin_first: bool = True
    """A reader pins the epoch before it takes the view of the rows in which it finds a key."""
    row_first: bool = True
    """The row of an upload is there before its request is sent."""
    sweep_reported: bool = True
    """The sweep deletes objects whose deletion was reported: a late request has made them again."""


@dataclass(frozen=True)
class Cast:
    """Who takes part: each session does one thing. ``repeats`` is how many requests arrive a second time.

    With ``hours`` the time comes in which what was reported as deleted is deleted once more, and forgotten.
    """

    writers: int = 2
    readers: int = 0
    removals: int = 1
    sweeps: bool = False
    repeats: int = 0
    hours: bool = True


class Actor(NamedTuple):
    """A session: what it does (``at``), the key that it holds or saw, whether it was declared dead, and its pin."""

    at: str = IDLE
    key: int = -1
    dead: bool = False
    pin: int = 0

    @property
    def lives(self) -> bool:
        """Whether the database counts it as alive."""
        return not self.dead and self.at not in (IDLE, DONE)


class State(NamedTuple):
    """The rows, the bucket, the network, and everybody at work."""

    writers: tuple[Actor, ...]
    readers: tuple[Actor, ...]
    removals: int
    sweeps: bool
    repeats: int
    hours: bool = True
    epoch: int = 0
    image: bool = False
    blob: int = -1
    uploads: frozenset[tuple[int, int]] = frozenset()
    doomed: frozenset[tuple[int, int]] = frozenset()
    deleting: frozenset[int] = frozenset()
    reported: frozenset[int] = frozenset()
    bucket: frozenset[int] = frozenset()
    wire: frozenset[tuple[str, int]] = frozenset()
    sweep: frozenset[int] | None = None
    taken: int = -1
    """The stamp that a removal under way took before it, where the rule about it is off."""

    @property
    def actors(self) -> tuple[Actor, ...]:
        """All sessions."""
        return self.writers + self.readers

    @property
    def named(self) -> list[int]:
        """The keys in all states, as often as they are in one."""
        return [
            *([self.blob] if self.blob >= 0 else []),
            *(key for key, _ in self.uploads),
            *(key for key, _ in self.doomed),
            *self.deleting,
            *self.reported,
        ]

    @property
    def is_clean(self) -> bool:
        """Whether the bucket holds what the rows name and nothing else, and no request is on its way."""
        named = set(self.named) - self.reported
        return not self.wire and self.bucket == ({self.blob} - {-1}) == named


Step = tuple[str, State]


def explore(rules: Rules, cast: Cast, *promises: str, most: int = 200_000) -> Outcome:
    """Go through all states breadth-first until one breaks one of some promises.

    Raises:
        AssertionError: there are more states than ``most``, so that nothing is proved.
    """
    actors = (Actor(),) * cast.writers, (Actor(),) * cast.readers
    first = State(*actors, cast.removals, cast.sweeps, cast.repeats, cast.hours)
    came: dict[State, tuple[State, str] | None] = {first: None}
    back: dict[State, list[State]] = {first: []}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        broken = [one for one in promises if _BROKEN[one](state)]
        if broken:
            return Outcome(len(came), broken[0], _way(came, state), collectable=False)
        for what, following in _steps(state, rules):
            reached = _renumbered(following)
            if reached not in came:
                came[reached] = (state, what)
                back[reached] = []
                queue.append(reached)
                assert len(came) <= most, "the model is too large"
            back[reached].append(state)
    return Outcome(len(came), None, (), collectable=_all_reach(back, [state for state in came if state.is_clean]))


class Outcome(NamedTuple):
    """What a search found: how many states, which promise was broken and by which steps.

    ``collectable`` says whether from every state there is a way to one without garbage.
    """

    states: int
    broken: str | None
    way: tuple[str, ...]
    collectable: bool


def _is_lost(state: State) -> bool:
    return (state.image and state.blob < 0) or (state.blob >= 0 and state.blob not in state.bucket)


def _is_torn(state: State) -> bool:
    return any(one.at == READING and one.lives and one.key not in state.bucket for one in state.readers)


def _is_twice(state: State) -> bool:
    return len(set(state.named)) < len(state.named)


_BROKEN: Final[dict[str, Callable[[State], bool]]] = {LOST: _is_lost, TORN: _is_torn, TWICE: _is_twice}


def _way(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    steps: list[str] = []
    while (before := came[state]) is not None:
        state, what = before
        steps.append(what)
    return tuple(reversed(steps))


def _all_reach(back: dict[State, list[State]], goals: Iterable[State]) -> bool:
    queue = deque(goals)
    reach = set(queue)
    while queue:
        for state in back[queue.popleft()]:
            if state not in reach:
                reach.add(state)
                queue.append(state)
    return len(reach) == len(back)


def _renumbered(state: State) -> State:
    """Number the epochs anew in their order, and sessions of a kind in an order of their own."""
    stamps = {stamp for _, stamp in state.doomed if stamp != UNSTAMPED}
    used = sorted({state.epoch, *stamps, *(one.pin for one in state.actors if one.lives), *({state.taken} - {-1})})
    rank = {epoch: place for place, epoch in enumerate(used)} | {-1: -1, UNSTAMPED: UNSTAMPED}

    def actor(one: Actor) -> Actor:
        return one._replace(pin=rank[one.pin] if one.lives else 0)

    return state._replace(
        epoch=rank[state.epoch],
        writers=tuple(map(actor, state.writers)),
        readers=tuple(map(actor, state.readers)),
        doomed=frozenset((key, rank[stamp]) for key, stamp in state.doomed),
        taken=rank[state.taken],
    )


def _steps(state: State, rules: Rules) -> Iterator[Step]:
    for number in range(len(state.writers)):
        yield from _writer(state, rules, number)
    for number in range(len(state.readers)):
        yield from _reader(state, number)
    yield from _sessions(state, rules)
    yield from _removal(state, rules)
    yield from _collection(state, rules)
    yield from _sweep(state, rules)
    yield from _network(state)


def _with(state: State, number: int, actor: Actor) -> State:
    """Return a state in which one session is another; readers are numbered behind the writers."""
    actors = [*state.actors]
    actors[number] = actor
    count = len(state.writers)
    return state._replace(writers=tuple(actors[:count]), readers=tuple(actors[count:]))


def _doom(state: State, *keys: int, stamp: int = UNSTAMPED) -> State:
    return state._replace(doomed=state.doomed | {(key, stamp) for key in keys if key >= 0})


def _writer(state: State, rules: Rules, number: int) -> Iterator[Step]:
    one = state.writers[number]
    who = f"writer {number}"
    if one.at == IDLE:
        yield f"{who} begins", _with(state, number, Actor(OPEN, pin=state.epoch))
    elif one.at == OPEN and not one.dead:
        if state.blob >= 0:
            yield f"{who} finds the blob", _with(state, number, one._replace(at=RELYING, key=state.blob))
        else:
            key = number if rules.fresh else 0
            sent = _with(state, number, one._replace(at=SENT, key=key))._replace(wire=state.wire | {("put", key)})
            if rules.row_first:
                sent = sent._replace(uploads=state.uploads | {(key, number)})
            yield f"{who} uploads", sent
    elif one.at == SENT and ("put", one.key) not in state.wire:
        yield f"{who} uploads again", state._replace(wire=state.wire | {("put", one.key)})
    elif one.at in (STORED, RELYING):
        yield from _commit(state, rules, number)


def _commit(state: State, rules: Rules, number: int) -> Iterator[Step]:
    one = state.writers[number]
    who = f"writer {number}"
    ended = _with(state, number, Actor(DONE))
    if one.dead and rules.fence:
        yield f"{who} is refused", ended
    elif one.at == RELYING:
        if state.blob >= 0 or not rules.recheck:
            yield f"{who} commits what it found", ended._replace(image=True)
        else:
            yield f"{who} misses what it found", ended
    else:
        rest = ended._replace(uploads=state.uploads - {(one.key, number)}, image=True)
        if state.blob < 0:
            yield f"{who} commits its upload", rest._replace(blob=one.key)
        elif state.blob == one.key:
            yield f"{who} commits the same key", rest
        else:
            yield f"{who} commits the blob of another", _doom(rest, one.key)


def _reader(state: State, number: int) -> Iterator[Step]:
    one = state.readers[number]
    place = len(state.writers) + number
    if one.at == IDLE:
        yield "a reader begins", _with(state, place, Actor(OPEN, pin=state.epoch))
    elif one.at == OPEN and state.blob >= 0:
        yield "a reader takes a view", _with(state, place, one._replace(at=VIEWING, key=state.blob))
    elif one.at == VIEWING:
        yield "a reader finds the blob in its view", _with(state, place, one._replace(at=READING))
    elif one.at == READING:
        yield "a reader ends", _with(state, place, Actor(DONE))


def _sessions(state: State, rules: Rules) -> Iterator[Step]:
    """Heartbeats of those that do nothing, and a reaper that takes anybody for dead."""
    for number, one in enumerate(state.actors):
        is_free = one.at == OPEN or (one.at == VIEWING and not rules.pin_first)
        if one.lives and is_free and one.pin < state.epoch:
            yield f"session {number} pins the epoch", _with(state, number, one._replace(pin=state.epoch))
        if one.lives:
            lost = [key for key, owner in state.uploads if owner == number]
            dead = _with(state, number, one._replace(dead=True))
            dead = dead._replace(uploads=frozenset(upload for upload in state.uploads if upload[1] != number))
            yield f"session {number} is declared dead", _doom(dead, *lost)


def _removal(state: State, rules: Rules) -> Iterator[Step]:
    if not (state.image and state.removals):
        return
    gone = state._replace(image=False, blob=-1, removals=state.removals - 1, taken=-1)
    if rules.stamp_later:
        yield "the image is removed", _doom(gone, state.blob)
    elif state.taken < 0:
        yield "a removal takes its stamp", state._replace(epoch=state.epoch + 1, taken=state.epoch + 1)
    else:
        yield "the image is removed", _doom(gone, state.blob, stamp=state.taken)


def _collection(state: State, rules: Rules) -> Iterator[Step]:
    if any(stamp == UNSTAMPED for _, stamp in state.doomed):
        epoch = state.epoch + 1
        stamped = frozenset((key, epoch if stamp == UNSTAMPED else stamp) for key, stamp in state.doomed)
        yield "what is doomed is stamped", state._replace(epoch=epoch, doomed=stamped)
    pinned = min((one.pin for one in state.actors if one.lives), default=state.epoch)
    for one in state.doomed:
        if one[1] <= pinned or not rules.epoch:
            deleting = state._replace(doomed=state.doomed - {one}, deleting=state.deleting | {one[0]})
            yield f"key {one[0]} is to be deleted", _deleted(deleting, one[0])
    for key in state.deleting:
        if ("delete", key) not in state.wire:
            yield f"key {key} is deleted again", _deleted(state, key)
        if key not in state.bucket:
            reported = state._replace(deleting=state.deleting - {key}, reported=state.reported | {key})
            yield f"key {key} is reported as deleted", reported
    for key in state.reported if state.hours else ():
        if ("delete", key) not in state.wire:
            yield f"key {key} is deleted once more", _deleted(state, key)
        if key not in state.bucket:
            yield f"key {key} is forgotten", state._replace(reported=state.reported - {key})


def _deleted(state: State, *keys: int) -> State:
    return state._replace(wire=state.wire | {("delete", key) for key in keys})


def _sweep(state: State, rules: Rules) -> Iterator[Step]:
    """A look through the bucket, in two steps: both sets are of moments of their own."""
    known = frozenset(state.named) - (state.reported if rules.sweep_reported else set())
    if state.sweep is None and state.sweeps:
        first = state.bucket if rules.list_first else known
        yield "a sweep begins", state._replace(sweep=first)
    elif state.sweep is not None:
        strays = state.sweep - known if rules.list_first else state.bucket - state.sweep
        yield f"a sweep deletes {sorted(strays)}", _deleted(state._replace(sweep=None), *strays)


def _network(state: State) -> Iterator[Step]:
    for request in state.wire:
        verb, key = request
        rest = state._replace(wire=state.wire - {request})
        yield f"{verb} {key} is lost", rest
        if verb == "delete":
            done = rest._replace(bucket=state.bucket - {key})
        else:
            done = rest._replace(
                bucket=state.bucket | {key},
                writers=tuple(
                    one._replace(at=STORED) if one.at == SENT and one.key == key else one for one in state.writers
                ),
            )
        yield f"{verb} {key} arrives", done
        if state.repeats:
            yield f"{verb} {key} arrives, and will once more", done._replace(wire=state.wire, repeats=state.repeats - 1)


def without(rule: str) -> Rules:
    """Return all rules but one."""
    return replace(Rules(), **{rule: False})
