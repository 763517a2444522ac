# ruff: noqa: RUF001 (letters of other scripts)
"""Which language some questions are in."""

import pytest

from elusive.corpus.languages import LANGUAGES, language_of


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ["When was Ada born?", "1815", "Where did she work?", "London"]),
        ("de", ["Wann wurde Ada geboren?", "1815", "Wo hat sie gearbeitet?", "London"]),
        ("es", ["¿Cuándo nació Ada?", "1815", "¿Dónde trabajó la inventora?", "Londres"]),
        ("fr", ["Quand est née Ada ?", "1815", "Où a travaillé la programmeuse ?", "Londres"]),
        ("it", ["Quando è nata Ada?", "1815", "Dove si trova il museo?", "Londra"]),
        ("pt", ["Quando foi que Ada nasceu?", "1815", "Onde fica o museu da cidade?", "Londres"]),
        ("nl", ["Wanneer is Ada geboren?", "1815", "Waar werd het boek geschreven?", "Londen"]),
        ("ro", ["Când a fost născută Ada?", "1815", "Unde este muzeul din oraș?", "Londra"]),
        ("tr", ["Ada ne zaman doğdu?", "1815", "Müze nerede ve hangi şehirde?", "Londra"]),
        ("vi", ["Ada sinh năm nào?", "1815", "Bảo tàng ở đâu?", "Luân Đôn"]),
        ("ru", ["Когда родилась Ада?", "1815", "Где она работала и что писала?", "Лондон"]),
        ("el", ["Πότε γεννήθηκε η Άντα;", "1815"]),
        ("he", ["מתי נולדה עדה?", "1815"]),
        ("ar", ["متى ولدت آدا؟", "1815"]),
        ("hi", ["एडा का जन्म कब हुआ?", "1815"]),
        ("th", ["เอดาเกิดเมื่อไร", "1815"]),
        ("ko", ["에이다는 언제 태어났습니까?", "1815"]),
        ("ja", ["エイダはいつ生まれましたか", "1815年"]),
        ("zh", ["阿达何时出生？", "1815年"]),
        # In doubt there is none: Polish, Persian, Bulgarian; no letters; two scripts in halves.
        ("", ["Kiedy urodziła się Ada?", "Gdzie pracowała?"]),
        ("", ["آدا چه زمانی و در کجا به دنیا آمد؟", "پاریس"]),
        ("", ["Кога е родена Ада?", "Къде работи тя?"]),
        ("", ["1 + 1 = ?", "2"]),
        ("", ["x?", "y"]),  # one common word of Spanish
        ("", []),
        ("", ["abcd абвг"]),
    ],
)
def test_letters_and_common_words_tell(language: str, texts: list[str]):
    assert language_of(texts) == language


def test_names_in_other_letters_change_nothing():
    assert language_of(["GPU 是什么时候发明的？ NVIDIA 在哪里？"]) == "zh"
    assert language_of(["Wer schrieb den Roman «Война и мир»?"]) == "de"


def test_every_language_has_labels_of_one_line():
    for code, language in LANGUAGES.items():
        assert language.code == code
        assert all(label and label == label.strip() for label in language.labels)
