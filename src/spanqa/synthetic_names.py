# ruff: noqa: SIM905 (a list of words reads best as one string)
"""Names for the sample corpus: any amount of them, and none in both of its parts.

Every word of a name belongs to the train part or to the eval part by its checksum, so the two
parts cannot share a name, whatever the seeds and sizes. Names are put together from the parts
below; a likeness to a real person or place is chance.
"""

from __future__ import annotations

import random
import re
from functools import cache
from itertools import count
from zlib import crc32

STEMS = (
    "Ash Bar Black Brack Brad Bren Cal Car Chap Clay Cor Cran Crow Dal Dar Den Dun East Ell Fair "
    "Fen Gar Glen Gran Green Hal Ham Har Hart Hol Hux Kel Kirk Lang Lin Mar Mel Mil Mor Nor North "
    "Oak Pem Pres Rad Red Rock Ros Sal Shel Stan Stock Strat Thorn Wal War West White Win Wood "
    "Łob Łuk Höl Brö Skå Müh Čer Bér"
).split()
SURNAME_ENDINGS = (
    "bell berg bury by combe croft dale den field ford gate ham hurst land ley low man mere more "
    "ridge shaw son stone ström ton ville wald well wick win wood worth ówna é ez ík"
).split()
PLACE_ENDINGS = (
    "berg borg bridge brook burg burn by cliff cross dale fell field ford garth hall haven holm "
    "hurst mouth minster nes pool port stead sted stow thorpe ton vik ville wick ów évár sjö"
).split()
WATER_ENDINGS = (
    "adel ain an anne der el en er ette gan isse ler low na nack oire ova une va wen"
).split()
COIN_ENDINGS = (
    "adine ador alis ander ante ara astra elle enta era iana ida ina ion ira ona ora us"
).split()
WOMEN = (
    "Ada Agnes Alice Amélie Anna Beatrice Bridget Carmen Clara Daphne Dolores Edith Elsa Esther "
    "Eva Flora Frida Greta Hanna Helena Ida Inés Irene Jana Joan Judith Karin Laura Lucía Mabel "
    "Margit Marie Martha Mira Nadia Nora Olga Paula Petra Renée Rosa Ruth Sofia Sylvia Tekla "
    "Teresa Ursula Vera Wanda Zoë"
).split()
MEN = (
    "Aaron Adam Albert André Anton Arthur Björn Bruno Carl Cedric Conrad Daniel David Edgar Emil "
    "Erik Felix Frank Georg Hans Harold Henrik Hugo Ivan Jakob James Jonas Josef José Karl Lars "
    "Leo Louis Lukas Magnus Martin Max Michał Nils Oliver Oscar Otto Paul Peter René Robert Rolf "
    "Samuel Simon Søren Stefan Theo Thomas Tomás Victor Walter"
).split()
ADJECTIVES = (
    "Amber Ancient Bitter Blind Brazen Bright Broken Burning Copper Crimson Crooked Distant Empty "
    "Endless Faded Fallen Final Frozen Gentle Gilded Golden Hidden Hollow Idle Iron Ivory Lonely "
    "Lost Lucky Midnight Missing Pale Patient Quiet Restless Royal Scarlet Secret Seventh Silent "
    "Silver Sleeping Stolen Sudden Velvet Wandering Wild Winter Wooden Young"
).split()
NOUNS = (
    "Anchor Arrow Balcony Candle Cathedral Comet Corridor Courtyard Crown Curtain Dancer "
    "Emperor Falcon Feather Garden Guest Hammer Harbour Heron Island Journey Kettle Kingdom Ladder "
    "Lantern Magpie Mirror Mountain Needle Ocean Orchard Organ Palace Parrot Piano Pilgrim Pillar "
    "Rainbow Ribbon Saddle Shadow Soldier Sparrow Staircase Stranger Tiger Tower Traveller "
    "Violin Voyage Widow Window Writer"
).split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
FORMS = {
    "last": ("{surname}",) * 20 + ("{surname}-{surname}", "O'{surname}"),
    "woman": ("{her} {last}",),
    "man": ("{his} {last}",),
    "person": ("{her} {last}", "{his} {last}"),
    "place": ("{town}",) * 12 + ("Port {town}", "Upper {town}", "Saint-{town}", "{town}-on-Sea"),
    "stream": ("River {water}", "{water} River"),
    "title": ("The {adjective} {noun}",) * 3 + ("The {noun} of {town}", "{noun} and {noun}"),
    "school": ("{surname} College", "{town} Polytechnic", "{surname} Academy"),
    "prize": ("{surname} Prize", "{surname} Medal", "{coin} Award"),
}
"""Sorts of names, and how they are made of other sorts and of words."""

ALIKE_AFTER = 30
"""Draws after which a name may begin like another one of the passage."""


def belongs(word: str, part: str) -> bool:
    """Tell whether a word of a name may be used in `part`, "train" or "eval"."""
    return ("train", "eval")[crc32(word.encode()) % 2] == part


class Names:
    """Draws names for one passage; no two of them share a word that is not a form's.

    Args:
        rng: Source of chance; the same state gives the same names.
        part: "train" or "eval".
    """

    def __init__(self, rng: random.Random, part: str) -> None:
        self.rng = rng
        self.part = part
        self.words: set[str] = set()
        """Words of names drawn so far."""
        self.values: set[str] = set()
        """Other values drawn so far, which are no names."""

    def draw(self, sort: str) -> str:
        """Draw a name of a sort in `FORMS`, or one word: `surname`, `town`, `noun`..."""
        return self.fill(self.rng.choice(FORMS[sort])) if sort in FORMS else self._word(sort)

    def fill(self, form: str) -> str:
        """Fill a form such as `the {place} Bridge`, a new name for each pair of braces."""
        return re.sub(r"{(\w+)}", lambda brace: self.draw(brace[1]), form)

    def _word(self, sort: str) -> str:
        pool = _pool(sort, self.part)
        begun = {word[:3] for word in self.words}
        for attempt in count():
            word = self.rng.choice(pool)
            # Names that begin alike are hard to tell apart; a long text may need some.
            if word not in self.words and (word[:3] not in begun or attempt >= ALIKE_AFTER):
                break
        self.words.add(word)
        return word


@cache
def _pool(sort: str, part: str) -> tuple[str, ...]:
    """All words of a sort that belong to a part."""
    if sort == "plural":
        return tuple(f"{noun}s" for noun in _pool("noun", part))
    listed = {"her": WOMEN, "his": MEN, "adjective": ADJECTIVES, "noun": NOUNS}
    endings = {
        "surname": SURNAME_ENDINGS,
        "town": PLACE_ENDINGS,
        "water": WATER_ENDINGS,
        "coin": COIN_ENDINGS,
    }
    # A doubled letter on the seam ("Ell" + "low") would read as a slip of the pen.
    words = listed.get(sort) or [
        stem + end for stem in STEMS for end in endings[sort] if stem[-1] != end[0]
    ]
    return tuple(word for word in words if belongs(word, part))
