"""X-Robots-Tag: whom it speaks to, and what of it is obeyed."""

from __future__ import annotations

import pytest

from clipgres.errors import PermanentImageError
from clipgres.fetching.opt_out import OptOut
from clipgres.reasons import Reason

OBEYED = OptOut.from_setting("noai, NoImageAI,", "clipgres")


@pytest.mark.parametrize(
    "headers",
    [
        ["noai"],
        ["NOAI"],
        ["noindex,noimageai"],
        ["noindex", "noimageai"],
        ["clipgres: noai"],
        ["ClipGres: noindex, noai"],
        ["otherbot: noindex, clipgres: noai"],
        ["otherbot: noai", "noai"],
        ["*: noai"],
        [" noai ,"],
        ["unavailable_after: 25 Jun 2050 15:00:00 PST, noai"],
        ["max-image-preview: none, noai"],
    ],
)
def test_a_wish_to_be_left_out_is_obeyed(headers: list[str]) -> None:
    with pytest.raises(PermanentImageError) as opted_out:
        OBEYED.check(headers)
    assert opted_out.value.reason is Reason.OPTED_OUT
    assert "noai" in str(opted_out.value).lower() or "noimageai" in str(opted_out.value).lower()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["all"],
        ["noindex, nofollow"],
        ["notnoai"],
        ["otherbot: noai"],
        ["otherbot: noindex, noai"],
        ["clipgres-other: noai"],
        ["noai: clipgres"],
        ["otherbot: noai, clipgres: noindex"],
    ],
)
def test_what_is_said_of_other_things_or_to_others_is_not(headers: list[str]) -> None:
    OBEYED.check(headers)


def test_the_setting_says_what_is_obeyed() -> None:
    OptOut.from_setting("", "clipgres").check(["noai, noimageai"])
    with pytest.raises(PermanentImageError):
        OptOut.from_setting("noindex", "clipgres").check(["noindex"])
