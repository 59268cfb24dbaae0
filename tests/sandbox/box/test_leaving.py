"""Groups that go when their last process has died."""

from cbx_sandbox.box.leaving import DYING_PATIENCE, LATER_MS, SOON_MS, Leaving


class Group:
    def __init__(self, *answers):
        self.answers = list(answers)

    def remove(self, patience):
        assert patience == 0
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_one_that_is_free_goes_at_once():
    """As nearly always."""
    told, leaving = [], Leaving()
    leaving.add(Group([]), told.append)
    assert told == [[]]
    assert not leaving
    assert leaving.pause_ms() is None


def test_one_that_is_busy_is_looked_at_again_and_holds_up_no_other():
    """It is told when it went."""
    told, leaving = [], Leaving()
    leaving.add(Group(["payload"], ["payload"], []), lambda left: told.append(("first", left)))
    leaving.add(Group([]), lambda left: told.append(("second", left)))
    assert told == [("second", [])]
    leaving.look()
    assert leaving
    leaving.look()
    assert told[1:] == [("first", [])]
    assert not leaving


def test_one_that_stays_busy_is_given_up_with_what_is_left():
    """After its time, and it is looked at less often before."""
    told, clock = [], Clock()
    leaving = Leaving(clock)
    leaving.add(Group(["payload"]), told.append)
    assert leaving.pause_ms() == SOON_MS
    clock.now += DYING_PATIENCE / 2
    leaving.look()
    assert (leaving.pause_ms(), told) == (LATER_MS, [])
    clock.now += DYING_PATIENCE
    leaving.look()
    assert told == [["payload"]]
    assert leaving.pause_ms() is None


def test_all_are_gone_or_given_up_before_somebody_else_is_served():
    """The first goes at its third look; of the second it is told what is left, when its time is over."""
    told, clock = [], Clock()
    leaving = Leaving(clock)
    leaving.add(Group(["payload"], ["payload"], []), lambda left: told.append(("first", left)))
    slow = Group(["init"])
    leaving.add(slow, lambda left: told.append(("second", left)))

    def remove(patience):
        clock.now += 1
        return ["init"]

    slow.remove = remove
    leaving.finish()
    assert told == [("first", []), ("second", ["init"])]
    assert not leaving
