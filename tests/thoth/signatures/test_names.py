"""Names of functions: the same for each build of a program, and of bounded length whatever is in them."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth.signatures.mangled import plain_name
from thoth.signatures.names import LONGEST_READ, harmless, normal, without_lists
from thoth.signatures.rules import current_rules

RULES = current_rules()

NAMES = {
    "main": "main",
    "foo.part.0": "foo",
    "foo.constprop.1.isra.0.cold": "foo",
    "foo.lto_priv.0": "foo",
    "raise@@GLIBC_2.2.5": "raise",
    "write@plt": "write",
    "__GI_raise": "raise",
    "__memcpy_avx_unaligned_erms": "memcpy",
    "__strlen_evex": "strlen",
    "__memcpy_chk": "__memcpy_chk",
    "PLT:malloc": "malloc",
    "PLT=malloc": "malloc",
    "_ZN2v88internal7RuntimeEv": "v8::internal::Runtime",
    "_ZN4node5StartEiPPc": "node::Start",
    "_ZN4node5StartEiPPc.part.12": "node::Start",
    "_ZNSt6vectorIiSaIiEE9push_backERKi": "std::vector::push_back",
    "_ZNKSt3mapISsiSt4lessISsESaISt4pairIKSsiEEE2atERS3_": "std::map::at",
    "_ZN12_GLOBAL__N_13fooEv": "{anonymous}::foo",
    "_ZN3FooC2Ev": "Foo::Foo",
    "_ZN3FooD0Ev": "Foo::~Foo",
    "_ZThn16_N3Foo3barEv": "Foo::bar",
    "_ZZN3Foo3barEvENKUlvE0_clEv": "Foo::bar::{lambda#2}::operator()",
    "_ZlsRSoRK3Foo": "operator<<",
    "_ZN3FoonwEm": "Foo::operator new",
    "_ZN3Foo3barB5cxx11Ev": "Foo::bar",
    "_ZL6helperv": "helper",
    "_ZN3foo3barILi5ELb1EXadL_ZNS_1fEvEEEEvv": "foo::bar",  # an expression
    "_Z4callIZ4mainEUlvE_EvT_": "call",  # a lambda
    "_ZNSt6thread11_State_implINS_8_InvokerISt5tupleIJZ4mainEUlvE_EEEEE6_M_runEv": "std::thread::_State_impl::_M_run",
    "_Z2pmIXadL_ZN1X2mfEvEEEvv": "pm",
    "_Z3vecIDv4_fEvT_": "vec",
    "_Z3vecIDF16_EvT_": "vec",
    "_ZN3foo3runIZNS_3barEvEUlvE_EEvT_": "foo::run",
    "_Z1fIZN1AIiE1gEvE1B_0EvT_": "f",
    "_Z1fIZ1gvEs__12_EvT_": "_Z1fIZ1gvEs__12_EvT_",
    "_Z1fIXfLplT_Li0EEEvv": "f",
    "_Z1fIXquT_Li1ELi2EEEvv": "f",
    "_Z1fIXsrN1A1BI1TEE5valueEEvv": "f",
    "_Z1fIXtl1SLi1ELi2EEEEvv": "f",
    "_Z1fIDTcl1gfp_EEEvv": "f",
    "_Z1fIMFivREEvT_": "_Z1fIMFivREEvT_",
    "_Z1fIM1AFivREEvT_": "f",
    "_ZNK1X1mMUlvE_clEv": "X::m::{lambda#1}::operator()",
    "_ZN1ACI11BEi": "A::A",
    "_ZN4core9panicking5panic17h0123456789abcdefE": "core::panicking::panic",
    "_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE": (
        "<alloc::vec::Vec as core::ops::drop::Drop>::drop"
    ),
    "core::panicking::panic::h0123456789abcdef": "core::panicking::panic",
    "_RNvCs9ltgdHTiPiY_7mycrate3foo": "mycrate::foo",
    "_RNvMNtCs5l0EXMQXRMU_5crate4mainNtB2_4Load3run": "crate::main::Load::run",
    "_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_": "cc::spawn::{closure#0}::{closure#0}",
    "_RNvXs_NtCs1_5alloc3vecINtB4_3VecpENtNtNtCs2_4core3ops4drop4Drop4drop": (
        "<alloc::vec::Vec as core::ops::drop::Drop>::drop"
    ),
    "_RINvNtC3std3mem8align_ofjdE": "std::mem::align_of",
    "_RINvNtNtC3std3sys9backtrace28___rust_begin_short_backtraceFEuuEC1r": (
        "std::sys::backtrace::__rust_begin_short_backtrace"
    ),
    "_RINvC1a1bFG_UKCRL0_jEjE": "a::b",
    "_RNvXC1aDNtC1b1TNtC1b1Up1IjEL_NtC1c1D3run": "<dyn b::T + b::U as c::D>::run",
    "_RNvMNtC4core3stre3len": "str::len",
    "_RNvYNtC1a1bNtC1c1d3run": "<a::b as c::d>::run",
    "_RINvC1a1bKj7b_E": "a::b",
    "_RNvC1a1b.llvm.123": "a::b",
    "_RNvNtB_1a1b": "_RNvNtB_1a1b",  # it refers to itself
    "_RNvC": "_RNvC",
    "_R": "_R",
    "std::vector<int, std::allocator<int> >::push_back(int const&)": "std::vector::push_back",
    "(anonymous namespace)::foo(int) const": "{anonymous}::foo",
    "Foo::operator()(int)": "Foo::operator()",
    "Foo::operator<(Foo const&) const": "Foo::operator<",
    "operator<< <char>(std::ostream&)": "operator<<",
    "Foo::operator->()": "Foo::operator->",
    "Foo::bar()::{lambda(int)#1}::operator()(int) const": "Foo::bar::{lambda#1}::operator()",
    "a \t\n b": "a b",
    "a | b": "a|b",
    "a\x1b[31mb\udcff": "a?[31mb?",
    "_Z": "_Z",
    "_Z999foo": "_Z999foo",
    "()": "()",
    "": "",
}


@pytest.mark.parametrize(("name", "wanted"), NAMES.items())
def test_normal(name: str, wanted: str) -> None:
    assert normal(name, RULES) == wanted


def test_a_long_name_keeps_its_beginning_and_stays_another_one() -> None:
    one, other = (normal("a" * 500 + end, RULES) for end in "xy")
    assert len(one) == len(other) == RULES.longest
    assert one.startswith("a" * 80)
    assert one != other


# Characters and pieces that the rules and the encodings treat in their own way.
PIECES = st.sampled_from(
    [*"abNZSELIJE_0123<>()[]`.:+-@|~ ", "_Z", "_ZN", "1a", "3foo", "17h0123456789abcdef", "E", "operator",
     "operator<", "operator()", ".part.0", ".cold", "@plt", "::", "(anonymous namespace)", "$LT$", "$u20$", "..",
     "\udcff", "\0", "é", "\n", "<signal", " const", "PLT=", "::h0123456789abcdef", "Cs_1",
     "_R", "S_", "St", "Ul", "vE_", "Z", "X", "Dv4_", "DF16_", "cl", "sr", "pl", "fL", "fp_", "cv", "DT", "L_Z"]
)  # fmt: skip
HOSTILE = st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=40)


@given(HOSTILE)
def test_a_normal_name_is_normal(name: str) -> None:
    once = normal(name, RULES)
    assert normal(once, RULES) == once


@given(HOSTILE, st.integers(1, 400))
def test_a_name_is_bounded_and_harmless(name: str, times: int) -> None:
    for shown in (normal(name * times, RULES), harmless(name * times, 80)):
        assert len(shown) <= RULES.longest
        assert shown == "" or shown.isprintable()
        assert " | " not in shown


@pytest.mark.parametrize("end", ["", "(", "!", "\n", "x"])
@pytest.mark.parametrize(
    "piece",
    [
        *("@", "@@", "@a", "@.", ".part", ".part.0", ".0", "::h0123456789abcdef", " const", " &", "PLT=", "__GI_"),
        *("avx_", "__memcpy_avx", "0x1", "a1", "a=", "pid 1", "1 ", "1.", "cpu ", "BAD TRAP", " ", "&"),
    ],
)
def test_no_rule_takes_long_for_a_name_of_the_enemy_s(piece: str, end: str) -> None:
    """A pattern that can read a text in many ways tries them all, while every other thread waits."""
    hostile = (piece * LONGEST_READ)[: LONGEST_READ - 1] + end
    for rule in (*RULES.trims, *RULES.panics, *RULES.vague):
        began = time.thread_time()
        rule.of(hostile)
        assert time.thread_time() - began < 0.5, rule


@pytest.mark.parametrize(
    "deep",
    [
        "N",
        "(",
        "<",
        "_ZN1aI",
        "_ZZ",
        "(" * 9 + "<>",
        "_Z1fIF",
        "P",
        "{lambda(",
        "_Z1fIZ",
        "_Z1fIX",
        "_Z1fIXps",
        "_Z1fIXcl",
        "_Z1fIDT",
        "_Z1fIDv4_",
        "_Z1fIL_Z",
        "_RINvC1a1bF",
        "_RINvC1a1bD",
    ],
)
def test_depth_costs_nothing(deep: str) -> None:
    assert len(normal(deep * LONGEST_READ, RULES)) <= RULES.longest
    plain_name("_Z" + deep * LONGEST_READ)


@given(st.text(st.sampled_from("RNvCMXYIBEKLTSAPsu_019abhFDGUp"), max_size=60))
def test_no_symbol_of_rust_makes_the_reader_fail(name: str) -> None:
    normal("_R" + name, RULES)
    normal("_R" + "B_" * 300 + name * 20, RULES)


@given(HOSTILE)
def test_no_symbol_makes_the_reader_fail(name: str) -> None:
    assert plain_name("_Z" + name) != ""


def test_names_are_those_that_binutils_reads() -> None:
    """Of a real library: each name that we read is in what c++filt makes of its symbol."""
    library = next(Path("/usr/lib").glob("**/libstdc++.so.6"))  # it came with g++
    listed = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout
    symbols = sorted({line.split()[-1].partition("@")[0] for line in listed.splitlines()})
    symbols = [each for each in symbols if each.startswith("_ZN")]
    asked = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True)
    pairs = [(plain_name(each), told) for each, told in zip(symbols, asked.stdout.splitlines(), strict=True)]
    read = [(name, told) for name, told in pairs if name is not None]
    assert len(read) >= 0.99 * len(pairs) > 1000
    unlike = [(name, told) for name, told in read if not _agrees(name, told)]
    assert len(unlike) <= 0.01 * len(read), unlike[:5]


# Whatever else has code of its own in a name: lambdas, expressions, constraints, vectors.
MODERN = r"""
#include <algorithm>
#include <functional>
#include <future>
#include <ranges>
#include <regex>
#include <variant>
struct X { void m() {} int d; auto operator<=>(const X &) const = default; };
struct S { int a, b; constexpr bool operator==(const S &) const = default; };
struct M { std::function<void()> f = [] {}; };
template <auto P> void pointer() {}
template <S s> void value() {}
template <class T> auto trailing(T t) -> decltype(t.size(), std::declval<T>()[0]) { return t[0]; }
template <class T, std::enable_if_t<(sizeof(T) > 2), int> = 0> void enabled(T) {}
template <class... T> auto fold(T... t) -> decltype((t + ... + 0)) { return (t + ... + 0); }
template <class T> requires std::integral<T> void constrained(T) {}
template <class T> void any(T) {}
template <class F> void call(F f) { f(); }
template <class T> void generic(T t) { call([t]<class U>(U u) { return [u, t] {}; }(3)); }
namespace ns { struct A { template <class F> void each(F f) { f(1); } void run(); };
void A::run() { each([this](int x) { each([=](auto y) { (void)x; }); }); } }
typedef float vector __attribute__((vector_size(16)));
int main(int c, char **) {
    M().f(); pointer<&X::m>(); pointer<&X::d>(); value<S{1, 2}>(); trailing(std::vector<int>{1}); enabled(3L);
    fold(1, 2L); constrained(1); any(vector{}); any((_Float16)1); any((__int128)1); any(nullptr); generic(2.0);
    ns::A().run();
    { struct L { static void f() { call([] {}); } }; L::f(); }
    { struct L { static void f() { call([] {}); } }; L::f(); }
    std::vector<int> v(10);
    for (int x : v | std::views::filter([](int x) { return x; })) c += x;
    std::ranges::sort(v, [](int a, int b) { return a < b; });
    std::thread([&] { c++; }).join();
    std::variant<int, char> either = 3;
    std::visit([](auto &&x) { (void)x; }, either);
    return std::async([&] { return c; }).get() + std::regex_match("aab", std::regex("a+b")) + (X{1} < X{2});
}
"""


def test_every_name_of_a_modern_program_is_read(tmp_path: Path) -> None:
    build = ["g++", "-std=c++20", "-O0", "-pthread", "-x", "c++", "-", "-o", tmp_path / "program"]
    subprocess.run(build, input=MODERN, text=True, check=True)
    listed = subprocess.run(["nm", tmp_path / "program"], capture_output=True, text=True, check=True).stdout
    kinds = {line.split()[-1]: line.split()[-2] for line in listed.splitlines()}
    symbols = sorted(name for name, kind in kinds.items() if name.startswith("_Z") and kind in "tTW")
    assert len(symbols) > 1000
    assert [name for name in symbols if plain_name(name) is None] == []
    asked = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True)
    pairs = [(plain_name(each) or "", told) for each, told in zip(symbols, asked.stdout.splitlines(), strict=True)]
    unlike = [(name, told) for name, told in pairs if "lambda" not in told and not _agrees(name, told)]
    assert len(unlike) <= 0.01 * len(pairs), unlike[:5]


def _agrees(name: str, told: str) -> bool:
    if "operator" in name:  # blanks, and the type of a cast
        return "operator" in told
    return re.sub("( const| &+)+$", "", without_lists(told)).endswith(name)
