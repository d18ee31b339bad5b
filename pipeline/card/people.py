"""Texts about the people in a dataset for data card and Croissant file: consent, removal, misuse and balance."""

from motionshards.pipeline.card.figures import Figures
from motionshards.pipeline.card.sources import Corpus
from motionshards.schemas.config import BuildConfig

REMOVAL = (
    "`python -m dataset.remove OUT --identity NAME` (or `--video`, `--key`) of motionshards removes a person, a video or a clip: "
    "the affected shards are rewritten, and only a digest of the name is kept. Later builds on the same output skip everything "
    "that was removed."
)
_SHOWN = (
    "The frames show real people who can be recognized, and keys and tables contain their names or numbers in the corpus. Faces "
    "are personal data and, if used to identify someone, biometric data. The build did not ask anyone for consent. "
    "Anyone who holds a copy must answer requests of the people shown, including requests made to the authors of the corpus."
)
_RENDERED = "The frames are rendered from one portrait in the public domain and show nobody else."
_UNKNOWN = "Only the person who ran the build knows whether the frames show real people, and whether they consented."

BIOMETRIC = (
    "This dataset contains biometric data: each sample has a face descriptor (`identity.npy`), 128 numbers by which the same "
    "person can be found in other videos. In many jurisdictions they may only be processed with explicit consent, or for "
    "research under safeguards. `motionshards build --output OUT --drop identity` deletes them."
)

MISUSE = (
    "Models trained on such data can make people appear to say and do things they never did. Ask people before animating them, "
    "and label generated videos as such."
)
LABELS = (
    "There are no labels of gender, age, skin tone or origin, so differences between groups of people cannot be measured with "
    "this dataset alone."
)


def people(corpus: Corpus, config: BuildConfig) -> str:
    """Paragraphs on the people shown, their removal, and misuse."""
    return "\n\n".join([*personal(corpus, config), REMOVAL, MISUSE])


def personal(corpus: Corpus, config: BuildConfig) -> list[str]:
    """Paragraphs on the people shown."""
    shown = _RENDERED if not corpus.real else _SHOWN if corpus.shows else _UNKNOWN
    return [shown, *[BIOMETRIC] * config.identity_embedding]


def bias(figures: Figures) -> list[str]:
    """Sentences on the balance of the clips, and on what the tables cannot show."""
    sentences = []
    if figures.clips_per_identity is not None:
        fewest, median, most = figures.clips_per_identity
        each = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,} (median {median:,.0f})"
        sentences.append(
            f"Clips per identity: {each}. The ten most frequent identities make up {figures.share_of_ten:.1%} of all clips."
        )
    if figures.turned is not None:
        sentences.append(f"The head is turned sideways by more than 45° in {figures.turned:.1%} of the clips with known pose.")
    return [*sentences, LABELS]
