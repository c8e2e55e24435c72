"""What a running pipeline is made of is not searched for garbage; when it has closed it is."""

from __future__ import annotations

import gc
import weakref

import headwater as hw


class Cycle:
    def __init__(self) -> None:
        self.own = self


def shop() -> hw.App:
    app = hw.App("shop")
    app.topic("sales", "shop BIGINT, price BIGINT")
    return app


def test_it_is_frozen_while_any_pipeline_runs() -> None:
    before = gc.get_freeze_count()
    with shop().start(listen=None):
        assert gc.get_freeze_count() > before + 10_000
        with shop().start(listen=None):
            pass
        assert gc.get_freeze_count() > before + 10_000
    assert gc.get_freeze_count() == 0


def test_garbage_of_before_is_found_when_it_has_closed() -> None:
    gc.collect()
    garbage = Cycle()
    seen = weakref.ref(garbage)
    with shop().start(listen=None):
        del garbage
        gc.collect()
        assert seen() is not None
    gc.collect()
    assert seen() is None
