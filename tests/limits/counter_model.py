"""A plain model of a counter store: lists of amounts taken, and fractions."""

from fractions import Fraction

from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    CounterDemand,
    MissingCounter,
    Refusal,
)

type Answer = Admitted | Refusal | MissingCounter


class ModelReservation:
    def __init__(self, needs: list[CounterDemand], expires: Fraction, answer: Admitted) -> None:
        self.needs, self.expires, self.answer, self.late = needs, expires, answer, False


class Model:
    """A model of one tenant's counters; times are exact seconds."""

    def __init__(self) -> None:
        self.level: dict[str, Fraction] = {}
        """Units of a rate that were used and have not come back yet."""
        self.at: dict[str, Fraction] = {}
        self.spent: dict[str, int] = {}
        self.told: set[str] = set()
        self.holds: dict[str, ModelReservation] = {}

    def reserved_amount(self, kind: str, field: str) -> int:
        return sum(
            need.amount
            for hold in self.holds.values()
            for need in hold.needs
            if (need.kind, need.field) == (kind, field)
        )

    def drain(self, need: CounterDemand, now: Fraction) -> Fraction:
        """Return how much of a rate is used now."""
        at = self.at.get(need.field, now)
        returned = max(Fraction(0), now - at) * need.limit / Fraction(need.period)
        self.level[need.field] = max(
            Fraction(0), self.level.get(need.field, Fraction(0)) - returned
        )
        self.at[need.field] = now if at - now > 60 else max(at, now)
        return self.level[need.field]

    def fits(self, need: CounterDemand, now: Fraction) -> bool:
        if need.kind in ("requests", "tokens"):
            used = self.drain(need, now) + self.reserved_amount("tokens", need.field)
            return used + need.amount <= need.limit
        if need.kind == "concurrency":
            return self.reserved_amount("concurrency", need.field) + need.amount <= need.limit
        if need.kind == "usd":
            return self.spent.get(need.field, 0) + need.amount <= need.limit
        part = Fraction(
            self.spent.get(need.field, 0) + need.amount, self.spent.get(need.total_field, 0) + 1
        )
        return need.amount == 0 or part <= Fraction(need.limit, 1000)

    def busy(self, id: str, need: CounterDemand) -> bool:
        """True if a budget would have room if the other running calls cost nothing."""
        running = sum(
            demand.amount
            for other_id, hold in self.holds.items()
            for demand in hold.needs
            if not hold.late
            and other_id != id
            and (demand.kind, demand.field) == ("usd", need.field)
        )
        spent = self.spent.get(need.field, 0) - running
        return need.kind == "usd" and spent + need.amount <= need.limit

    def expire(self, now: Fraction) -> None:
        for id, hold in list(self.holds.items()):
            if not hold.late and now >= hold.expires:
                for need in hold.needs:
                    if need.kind == "tokens":
                        self.level[need.field] += need.amount
                hold.needs = [need for need in hold.needs if need.kind == "usd"]
                hold.late = True
            if hold.late and now >= hold.expires + 3600:
                del self.holds[id]

    def admit(
        self, ask: AdmissionRequest, expires: Fraction, now: Fraction, *, more: bool = False
    ) -> Answer:
        self.expire(now)
        hold = self.holds.get(ask.id)
        if hold is not None and not more:
            return hold.answer
        over = [need for need in ask.demands if not self.fits(need, now)]
        unseeded = [
            need
            for need in ask.demands
            if need.kind == "usd" and need.needs_seed and need.field not in self.spent
        ]
        if unseeded:
            return MissingCounter(unseeded[0])
        if over:
            return Refusal(over[0])
        warned: list[CounterDemand] = []
        for need in ask.demands:
            if need.kind == "requests":
                self.level[need.field] += need.amount
            elif need.kind in ("usd", "share"):
                if need.total_field:
                    self.spent[need.total_field] = self.spent.get(need.total_field, 0) + 1
                self.spent[need.field] = self.spent.get(need.field, 0) + need.amount
                count = Fraction(self.spent[need.field])
                if need.total_field:
                    count = count * 1000 / self.spent[need.total_field]
                due = need.soft is not None and count >= need.soft and need.amount > 0
                if due and need.field not in self.told:
                    self.told.add(need.field)
                    warned.append(need)
        answer = Admitted(tuple(warned))
        if hold is None:
            self.holds[ask.id] = ModelReservation(list(ask.demands), expires, answer)
        else:
            hold.needs, hold.expires, hold.late = [*hold.needs, *ask.demands], expires, False
        return answer

    def settle(self, id: str, tokens: int | None, micro: int | None) -> bool:
        hold = self.holds.pop(id, None)
        if hold is None:
            return False
        for field in {need.field for need in hold.needs if need.kind == "tokens"}:
            reserved = sum(need.amount for need in hold.needs if need.field == field)
            self.level[field] += reserved if tokens is None else tokens
        for field in {need.field for need in hold.needs if need.kind == "usd"}:
            reserved = sum(need.amount for need in hold.needs if need.field == field)
            self.spent[field] += 0 if micro is None else micro - reserved
        return True
