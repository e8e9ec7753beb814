"""Torture texts: what an encoder must encode as the reference does before it may encode a corpus."""

import itertools
import unicodedata
from collections.abc import Iterator

from tokenizers import Tokenizer

from .identity import PROBE

_SCRIPTS = (
    (
        "na\u00efve \u00c5ngstr\u00f6m \u212b \ufb01ne stra\u00dfe \u0130stanbul \u0131\u015f\u0131k "
        "\u01c5 \u1e9e"
    ),
    (
        "\u0397 \u03ba\u03b1\u03bb\u03cd\u03c4\u03b5\u03c1\u03b7 \u03bc\u03ad\u03c1\u03b1\u03c2 "
        "\u1f00\u1fc3\u0345"
    ),
    (
        "\u0421\u044a\u0435\u0448\u044c \u0435\u0449\u0451 \u044d\u0442\u0438\u0445 \u043c\u044f"
        "\u0433\u043a\u0438\u0445"
    ),
    (
        "\u4f60\u597d\uff0c\u4e16\u754c\uff01 \u3053\u3093\u306b\u3061\u306f \u30ab\u3099 \uff76"
        "\uff9e \u3131\u1100\u1161\u11a8 \uc548\ub155"
    ),
    (
        "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627 \u0640\u0640 \u0661\u0662\u0663 "
        "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u202eabc\u202c \u2067x\u2069"
    ),
    (
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u200d\u0937 \u0e2a\u0e27\u0e31\u0e2a\u0e14"
        "\u0e35 \u0ba8\u0bbf \u1019\u103c\u1014\u103a\u1019\u102c \u0f40\u0fb5"
    ),
    (
        "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd \U0001f1e9"
        "\U0001f1f0\U0001f1e9 1\ufe0f\u20e3 \u2764\ufe0f\u200d\U0001f525 \U0001f3f4\U000e0067"
        "\U000e0062\U000e007f"
    ),
    (
        "\U00010348\U0001d518\U0001d52b \U00020000\U0002a6d6 \ue000 \ufdd0 \uffff \U0010ffff \u0378 "
        "\U0001f6dc \U0001e900"
    ),
    (
        "a\u0300\u0316\u0301 q\u0307\u0323 \u1e69 s\u0323\u0307 \u0f73 \u0344 \ud55c \u1112\u1161"
        "\u11ab \u00b2\u2075\u2154 \u2167 \u3392 \ufdfa"
    ),
    (
        "x\u00a0y\u2003z\u200bw\ufeffv\u2028u\u2029t\u0085s\u000br\u000cq\u001fp\u0000o\u00ado\u2060n"
        "\u180em\u3000l"
    ),
)
_NEW_CHARACTERS = (
    *(
        0x0CF3,
        0x0ECE,
        0x1C89,
        0xA7CB,
        0xA7DA,
        0x105C0,
        0x10D40,
        0x10EFD,
        0x11240,
        0x11380,
        0x116D0,
        0x11B00,
        0x11BC0,
    ),
    *(
        0x11F02,
        0x11F50,
        0x13440,
        0x13460,
        0x16100,
        0x16D40,
        0x1CC00,
        0x1D2C0,
        0x1DF25,
        0x1E030,
        0x1E4D0,
        0x1E5D0,
    ),
    *(0x1F6DC, 0x1FA75, 0x2EBF0, 0x31350),
)
_CODE = (
    (
        "def f(x):\n\tif x != 0xFF_FF and not (x <<= 2):  # why?\n\t\treturn {**a, 'k': [1e-9, 3.14j]"
        "}[::-1]\n\n\n"
    ),
    "#include <a.h>\r\nint main(void){ for(;;) { i++; *p->q |= ~0x7fUL; } }\r\n\r\n/* ... */\\\n",
    'SELECT `a`, "b" FROM t WHERE c LIKE \'%_\\%\' -- !!\n<a href="x?y=1&amp;z">&#x1F600;</a>=== ??? !!!',
    "I'm you're WE'LL they'Ve he'd 'twas rock'n'roll 's'S'T'RE'\u017f \u2019s don\u2019t I'\u017f",
    (
        "https://user:pw@host.example:8080/p/a%20th;v=1?q=a+b&c=d#frag me@x.org C:\\dir\\f.txt ~/.rc "
        "$HOME ${x}"
    ),
)


def torture_texts(backend: Tokenizer) -> list[str]:
    """Returns the texts for one tokenizer: built-in ones in all Unicode forms, and its own added tokens."""
    texts = [PROBE, *_SCRIPTS]
    texts += [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD") for text in texts]
    more = itertools.chain(_CODE, _runs(), _edge_characters(), _added_tokens(backend), _same_beginnings())
    return [*dict.fromkeys(["", *texts, *more])]


def _runs() -> Iterator[str]:
    """Runs of blanks, digits and marks of many lengths: pre-tokenizers count and look ahead."""
    for length in (1, 2, 3, 4, 7, 8, 15, 16, 17, 63, 64, 65, 130, 1000):
        yield f"x{' ' * length}y{chr(10) * length}z{chr(9) * length}\r\n{' ' * length}"
        yield f"{' ' * length}\n{' ' * length}w{(chr(13) + chr(10)) * length}{chr(0xA0) * length}v"
        yield f"{'1234567890' * length}"[:length] + f" -{'9' * length}.{'0' * length}a{'5' * length}"
        yield (
            "a" * length + "A" * length + "-" * length + "=" * length + "\u4e00" * length + "\u0301" * length
        )


def _same_beginnings() -> Iterator[str]:
    """Long texts that differ in what follows their blanks: an engine may keep what it found of the last one.

    fastokens 0.3.2 did, and let texts after the first have the first one's cuts.
    """
    beginning = (_CODE[0] * 100)[:5000] + "x"
    for blanks in (" ", " " * 70):
        for end in (f"y{_CODE[0]}", " ", "\n"):
            yield beginning + blanks + end


def _edge_characters() -> Iterator[str]:
    """The first and last character of every run of one Unicode category, between letters and blanks.

    Unassigned ones too, and some assigned since Unicode 15: engines have tables of different ages.
    """
    edges: list[int] = list(_NEW_CHARACTERS)
    before, last = "", 0
    for code in itertools.chain(range(0x32400), range(0xE0000, 0xE0200), range(0x10FFF0, 0x110000)):
        category = unicodedata.category(chr(code))
        if category != before:
            edges += [last, code]
        before, last = category, code
    characters = [chr(code) for code in dict.fromkeys(edges) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(characters), 256):
        yield "".join(f"a{one} {one}" for one in characters[start : start + 256])


def _added_tokens(backend: Tokenizer) -> Iterator[str]:
    """The literal text of every added token, alone, inside words, between blanks, and cut short."""
    contents = [token.content for token in backend.get_added_tokens_decoder().values()]
    for start in range(0, len(contents), 64):
        some = contents[start : start + 64]
        for form in ("{}", "x{}y", " {} ", "\n{}\n", "{}{}"):
            yield "".join(form.format(one, one) for one in some)
        yield " ".join(one[:-1] for one in some)
        yield "".join(one.upper() + one.lower() for one in some)
