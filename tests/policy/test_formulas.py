"""Formulas of LaTeX as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.formulas import plain_formulas
from bot.policy.markup import open_fence


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"So \( x^2 + y_1 \).", "So x² + y₁."),
        ("$$\nE = mc^2\n$$", "E = mc²"),
        (r"\[ \frac{a+b}{2} \le \sqrt{\alpha} \]", "(a+b)/2 ≤ √α"),
        (r"\(\frac{x^{n-1}}{\text{all}}\)", "(xⁿ⁻¹)/all"),
        (r"with $\pi r^2$, and $n$ and $a_{ij}$", "with π r², and n and aᵢⱼ"),
        (r"\(90^\circ \times a*b - 1\)", "90° × a∗b − 1"),
        (r"\( \left( 1 \right) \)", "( 1 )"),
        (r"\(x_1\) and \(\mathrm{kg}=1\)", "x₁ and kg=1"),
        ("`$x_1$` $x_1$", "`$x_1$` x₁"),
        ("`a\n$x_1$", "`a\nx₁"),
        ("($x_1$)", "(x₁)"),
        ("$x_1$ $5", "x₁ $5"),
        ("\\(\nx^2\n\\)", "x²"),
        (r"\(a||b~1\)", "a‖b 1"),
        (r"\(x^{a b}\)", "xᵃᵇ"),
        (r"\(\frac{\sqrt{a+b}}{\frac{1}{2}}\)", "(√(a+b))/(1/2)"),
        (r"\(1\), \(x\)", "1, x"),
        (r"\(x^{}\)", "`x^{}`"),
        ("`a\n$x_1$\n`", "`a\nx₁\n`"),
        ("`a` $x_1$ `b`", "`a` x₁ `b`"),
        ("\\\\ $x_1$", "\\\\ x₁"),
        ("\\(x \n\n$y_1$", "\\(x \n\ny₁"),
        (r"\(x^{aq}\)", "`x^{aq}`"),
        (r"\(\text{a b}=1\)", "a b=1"),
        (r"\(\frac{-a}{2}\)", "(−a)/2"),
        # What Unicode cannot tell is quoted.
        (r"\(\begin{matrix}a & b\end{matrix}\)", r"`\begin{matrix}a & b\end{matrix}`"),
        (r"\(x^{q}\)", "`x^{q}`"),
        (r"\(\hbar = 1\)", r"`\hbar = 1`"),
        (r"\(> 1\)", "`> 1`"),
        (r"\(1 <\)", "`1 <`"),
    ],
)
def test_a_formula_is_told_where_it_can_be_and_else_quoted(text: str, shown: str) -> None:
    assert plain_formulas(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and then $6.", "$HOME_DIR and $PATH_X", "a $ b $ c_1", "$x and y$", r"\(x",
        r"`\(x^2\)`", r"``\(x^2\)``", "```tex\n\\(x^2\\)\n```", "~~~\n$$x^2$$\n~~~", "$$ $$",
        r"\[no link\](https://example.org)", r"@every\(o\)ne", r"<@\(1\)>", r"\(a\)b", "$x^q$",
        r"\\(x^2\\)", "$$a^2\n\nb$$", r"` \(x^2\)", "\\(`x`^2\\)", r"\(no math\)",
        "$" + "x" * 79 + "^2$", "$$" + "x" * 399 + "^2$$", r"\(x^2" + "x" * 400 + r"\)", "https://a.example/$x_1$",
        "\\(a\n\nb_1\\)\n\nc", "a$x_1$", r"\(no\)", "$a=b$", "~~~ $x_1$\na\n~~~",
    ],
)  # fmt: skip
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert plain_formulas(text) == text


def test_the_longest_formulas_are_told() -> None:
    assert plain_formulas("$" + "x" * 78 + "^2$") == "x" * 78 + "²"
    assert plain_formulas("$$" + "x" * 398 + "^2$$") == "x" * 398 + "²"


def test_what_was_taken_for_a_formula_is_shown_once_it_cannot_be_one() -> None:
    assert plain_formulas("a $" + "x" * 80, is_whole=False) == "a "
    assert plain_formulas("a $" + "x" * 81, is_whole=False) == "a $" + "x" * 81
    assert plain_formulas("a $x\n", is_whole=False) == "a $x\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a `b", "a `b"), ("a `$x_1$", "a `$x_1$"), ("a \\", "a "), (r"\(x\)", ""),
        (r"\(x\).", "x."), ("$x_1$", ""), ("$x_1$ ", "x₁ "), ("\\(a\n\n", "\\(a\n\n"), ("$5", "$5"),
        ("```\n$x_1$\n``", "```\n$x_1$\n``"),
    ],
)  # fmt: skip
def test_of_a_growing_text_what_may_become_a_formula_is_held_back(text: str, shown: str) -> None:
    assert plain_formulas(text, is_whole=False) == shown


def test_a_growing_formula_is_held_back_until_it_has_ended() -> None:
    text = r"So \(x^2\) is"
    seen = list(dict.fromkeys(plain_formulas(text[:e], is_whole=False) for e in range(len(text))))
    assert seen == ["", "S", "So", "So ", "So x² ", "So x² i"]


pieces = st.sampled_from([
    r"\(", r"\)", r"\[", r"\]", "$", "$$", "x", "^2", "_{1}", "_", r"\alpha", r"\frac{a}{b}", "{",
    "}", " ", "\n", "\n\n", "`", "```", "```\n", "\\", "(", "@", "<", ">", "@everyone", "<@1>",
    "5", "~~~\n",
])  # fmt: skip
texts = st.lists(pieces, max_size=30).map("".join)


@given(texts, texts)
def test_what_is_shown_of_a_growing_text_is_a_beginning_of_all_that_follows(
    text: str, more: str
) -> None:
    early, late = plain_formulas(text, is_whole=False), plain_formulas(text + more, is_whole=False)
    assert late.startswith(early)
    assert plain_formulas(text + more).startswith(early)


@given(texts)
def test_what_is_shown_is_bounded_and_makes_no_mention_and_no_fence(text: str) -> None:
    shown = plain_formulas(text)
    assert len(shown) <= 2 * len(text)
    for sign in ("@everyone", "<@", "<#", "<@1>"):
        assert shown.count(sign) <= text.count(sign)
    assert (open_fence(shown) is None) == (open_fence(text) is None)
