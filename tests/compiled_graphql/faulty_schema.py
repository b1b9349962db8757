"""A graph of every shape, whose resolvers fail in every way: chosen by the seed, the object and the field."""

import asyncio
import datetime as dt
import enum
import random
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Optional

import strawberry
from strawberry import relay
from strawberry.dataloader import DataLoader
from strawberry.extensions import FieldExtension, ParserCache, ValidationCache
from strawberry.permission import BasePermission
from strawberry.scalars import JSON

AT = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


class Faults:
    """What fails: ``fault`` is the share of values that fail, ``delay`` the share of those that must be awaited."""

    def __init__(self, seed: int, fault: float, delay: float) -> None:
        self.seed, self.fault, self.delay = seed, fault, delay
        self.log: list[str] = []
        self.squares = DataLoader(self._squares)

    async def _squares(self, keys: list[int]) -> list[Any]:
        await asyncio.sleep(0)
        return [ValueError(f"no square of {key}") if key == 7 and self.fault else key * key for key in keys]

    def chance(self, *about: str) -> random.Random:
        return random.Random(f"{self.seed} {about}")

    def value(self, good: Any, bad: Any, *about: str) -> Any:
        """``good`` or one of its faults: an exception raised or returned, null, or ``bad``."""
        draw = self.chance("fault", *about).random() / self.fault if self.fault else 1
        if draw < 0.3:
            raise ValueError(f"raised at {about}")
        if draw < 0.55:
            return None
        if draw < 0.75:
            return bad
        return RuntimeError(f"returned at {about}") if draw < 1 else good

    def given(self, make: Callable[[], Any], *about: str) -> Any:
        """The result of ``make``, or a coroutine or future of it."""
        chance = self.chance("delay", *about)
        if chance.random() >= self.delay:
            return make()
        later = self._later(make, chance.randrange(4))
        return asyncio.ensure_future(later) if chance.random() < 0.4 else later

    async def _later(self, make: Callable[[], Any], rounds: int) -> Any:
        for _ in range(rounds):
            await asyncio.sleep(0)
        return make()


@strawberry.enum
class Color(enum.Enum):
    RED = "red"
    BLUE = strawberry.enum_value("blue", name="AZURE")


@strawberry.input
class Size:
    width: int
    height: int | None = strawberry.UNSET


class Loud(FieldExtension):
    def resolve(self, next_: Callable[..., Any], source: Any, info: strawberry.Info, **arguments: Any) -> Any:
        value = next_(source, info, **arguments)
        return value.upper() if isinstance(value, str) else value


class OddOnly(BasePermission):
    message = "only odd keys"

    def has_permission(self, source: Any, info: strawberry.Info, **arguments: Any) -> bool:
        return len(source.key) % 2 == 1


@strawberry.interface
class Named:
    name: str


class Faulty:
    """``give`` returns a good value or one of its faults, at once or as an awaitable."""

    key: str
    faults: Faults

    def give(self, field: str, good: Any, bad: Any = "bad") -> Any:
        return self.faults.given(lambda: self.faults.value(good, bad, self.key, field), self.key, field)

    def items(self, field: str, good: list[Any]) -> Any:
        return self.faults.given(lambda: self._items(field, good), self.key, field)

    def _items(self, field: str, good: list[Any]) -> Any:
        faults = self.faults
        chosen = faults.value(good, 9, self.key, field)
        if (
            chosen is not good
            or faults.chance("items", self.key, field).random() >= faults.fault + faults.delay
        ):
            return chosen
        return [self._item(item, field, str(place)) for place, item in enumerate(good)]

    def _item(self, item: Any, *about: str) -> Any:
        return self.faults.given(lambda: item_of(self.faults, item, self.key, *about), self.key, *about)


def item_of(faults: Faults, item: Any, *about: str) -> Any:
    try:
        return faults.value(item, "bad", *about)
    except ValueError as error:
        return error


@strawberry.type
class Leaf(Faulty, Named):
    key: strawberry.Private[str]
    faults: strawberry.Private[Faults]
    size: int
    label: str | None = None

    @strawberry.field
    def name(self) -> str:
        return self.give("name", f"leaf {self.key}", object())

    @strawberry.field
    def times(self, by: int = 2, plus: int | None = None) -> int:
        return self.give(f"times {by} {plus}", 7 * by + (plus or 0), "x")

    @strawberry.field
    def color(self, like: Color = Color.RED) -> Color | None:
        return self.give(f"color {like}", like, "green")

    @strawberry.field
    def tags(self, words: list[str] | None = None) -> list[str | None]:
        return self.items("tags", ["a", None, *(words or [])])

    @strawberry.field
    def at(self) -> dt.datetime | None:
        return self.give("at", AT, 3)

    @strawberry.field
    async def square(self, info: strawberry.Info) -> int:
        return await info.context.squares.load(len(self.key))

    @strawberry.field(extensions=[Loud()])
    def loud(self, word: str = "hi") -> str | None:
        return self.give("loud", word)

    @strawberry.field(permission_classes=[OddOnly])
    def odd(self) -> str:
        return self.give("odd", "odd")


@strawberry.type
class Thing(Faulty, relay.Node):
    id: relay.NodeID[str]
    key: strawberry.Private[str]
    faults: strawberry.Private[Faults]
    data: JSON | None = None

    @strawberry.field
    def place(self, info: strawberry.Info) -> str:
        return f"{info.path.as_list()} {info.field_name} {info.python_name} {info.selected_fields[0].name}"


@strawberry.type
class Branch(Faulty, Named):
    key: strawberry.Private[str]
    faults: strawberry.Private[Faults]
    depth: strawberry.Private[int]
    number: int
    ratio: float | None
    flag: bool | None
    color: Color

    @strawberry.field
    def name(self) -> str:
        return self.give("name", f"branch {self.key}", object())

    @strawberry.field
    async def late_name(self) -> str | None:
        return self.faults.value(f"late {self.key}", object(), self.key, "late")

    @strawberry.field
    def area(self, size: Size, scale: float | None = None) -> float | None:
        return self.give("area", size.width * (size.height or 1) * (scale or 1), "x")

    @strawberry.field
    def leaf(self) -> Leaf:
        return self.give("leaf", leaf(self, "l"), 3)

    @strawberry.field
    def maybe_leaf(parent: strawberry.Parent["Branch"]) -> Leaf | None:
        return parent.give("maybe leaf", leaf(parent, "m"), 3)

    @strawberry.field
    def branches(self, first: int = 2) -> list["Branch"]:
        return self.items("branches", branches(self, "b", first))

    @strawberry.field
    def maybe_branches(self) -> list[Optional["Branch"]] | None:
        return self.items("maybe branches", branches(self, "o", 2))

    @strawberry.field
    async def late_leaves(self) -> list[Leaf]:
        await asyncio.sleep(0)
        return self.faults.value([leaf(self, "v"), leaf(self, "w")], 3, self.key, "late leaves")

    @strawberry.field
    def leaf_set(self) -> list[Leaf | None]:
        return self.give("leaf set", (leaf(self, "s"), None), 3)

    @strawberry.field
    def flow(self) -> list[Leaf]:
        return self.give("flow", flow(self), 3)

    @strawberry.field
    def named(self) -> Named:
        return self.give("named", leaf(self, "x"), 3)

    @strawberry.field
    def all_named(self) -> list[Named]:
        return self.items("all named", [leaf(self, "y"), *branches(self, "z", 1)])

    @strawberry.field
    def either(self) -> Annotated[Leaf | Thing, strawberry.union("Either")] | None:
        return self.give("either", leaf(self, "e") if len(self.key) % 2 else thing(self), leaf)

    @strawberry.field
    def grid(self) -> list[list[int]]:
        return self.items("grid", [[1, 2], [3], 4 if self.faults.fault else []])

    @strawberry.field
    def maybe_grid(self) -> list[list[Optional["Leaf"]] | None] | None:
        return self.items("maybe grid", [[leaf(self, "g"), None], None, []])

    @strawberry.field
    def thing(self) -> Thing:
        return self.give("thing", thing(self), 3)

    @strawberry.field
    def me(self, root: "Branch") -> Optional["Branch"]:
        return root if root.depth > 0 else None


async def flow(branch: Branch) -> AsyncIterator[Leaf]:
    for letter in "pq":
        await asyncio.sleep(0)
        yield leaf(branch, letter)


def leaf(branch: Branch, letter: str) -> Leaf:
    key, faults = branch.key + letter, branch.faults
    return Leaf(key=key, faults=faults, size=item_of(faults, len(key), key, "size"))


def thing(branch: Branch) -> Thing:
    key = f"{branch.key}t"
    return Thing(id=key, key=key, faults=branch.faults, data=item_of(branch.faults, {"a": [1]}, key, "data"))


def branches(branch: Branch, letter: str, number: int) -> list[Branch]:
    if branch.depth <= 0:
        return []
    return [
        branch_of(branch.faults, f"{branch.key}{letter}{place}", branch.depth - 1) for place in range(number)
    ]


def branch_of(faults: Faults, key: str, depth: int) -> Branch:
    return Branch(
        key=key,
        faults=faults,
        depth=depth,
        number=item_of(faults, 5, key, "number"),
        ratio=item_of(faults, 0.5, key, "ratio"),
        flag=item_of(faults, True, key, "flag"),
        color=item_of(faults, Color.BLUE, key, "color"),
    )


@strawberry.type
class Query:
    @strawberry.field
    def branch(self, info: strawberry.Info) -> Branch:
        return branch_of(info.context, "r", 3)

    @strawberry.field
    async def late_branch(self, info: strawberry.Info) -> Branch | None:
        await asyncio.sleep(0)
        return branch_of(info.context, "q", 3)

    @strawberry.field
    def maybe_branch(self, info: strawberry.Info) -> Branch | None:
        return branch_of(info.context, "s", 2)

    @strawberry.field
    def named(self, info: strawberry.Info) -> list[Named | None]:
        return branch_of(info.context, "n", 1).items("named", [branch_of(info.context, "t", 2)])


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def write(self, info: strawberry.Info, word: str = "w") -> Branch | None:
        await asyncio.sleep(0)
        info.context.log.append(word)
        return branch_of(info.context, word, 1)

    @strawberry.mutation
    def refuse(self, info: strawberry.Info, word: str = "r") -> Branch:
        info.context.log.append(word)
        return branch_of(info.context, word, 1).give("refuse", branch_of(info.context, word, 2), 3)


def faulty_schema(executor: Any) -> strawberry.Schema:
    caches = [lambda: ParserCache(maxsize=100), lambda: ValidationCache(maxsize=100)]
    return strawberry.Schema(
        Query,
        Mutation,
        types=[Leaf, Branch, Thing],
        execution_context_class=executor,
        extensions=caches,
    )
