"""What a data card and a Croissant file say of the people in a dataset: consent, removal, uses, and whom it shows how often."""

from motionshards.pipeline.card.figures import Figures
from motionshards.pipeline.card.sources import Corpus
from motionshards.schemas.config import BuildConfig

REMOVAL = (
    "`python -m dataset.remove OUT --identity NAME` (or `--video`, `--key`) of motionshards takes a person, a video or a clip "
    "out: the shards that hold it are rewritten, and what is remembered is a digest in place of the name. Later builds on the "
    "same output leave the same people out."
)
_SHOWN = (
    "The frames show real people who can be recognised, and names or numbers by which the corpus tells them apart stand in keys "
    "and tables; faces are personal data, and where they serve to recognise somebody, biometric data. Consent was not asked for "
    "by whoever ran the build. Whoever holds a copy answers requests of people shown, also those that reached the makers of the "
    "corpus."
)
_RENDERED = "The frames are rendered from one portrait in the public domain and show nobody else."
_UNKNOWN = "Whether the frames show real people, and whether they agreed, is for whoever ran the build to say."

BIOMETRIC = (
    "This dataset holds biometric data: each sample has a face descriptor (`identity.npy`), 128 numbers by which the same person "
    "can be found in other videos. In many places they may be processed only with explicit consent, or for research under "
    "safeguards. `motionshards build --output OUT --drop identity` deletes them."
)

MISUSE = (
    "Models trained on such data can put words and gestures into the mouth and face of somebody who never made them. Ask people "
    "before animating them, and say of what was made that it was."
)
LABELS = (
    "No labels of gender, age, skin or origin exist, so how a model treats groups of people cannot be measured with this alone."
)


def people(corpus: Corpus, config: BuildConfig) -> str:
    """Paragraphs on the people shown, and on how they are taken out."""
    return "\n\n".join([*personal(corpus, config), REMOVAL, MISUSE])


def personal(corpus: Corpus, config: BuildConfig) -> list[str]:
    """What is known of the people shown."""
    shown = _RENDERED if not corpus.real else _SHOWN if corpus.shows else _UNKNOWN
    return [shown, *[BIOMETRIC] * config.identity_embedding]


def bias(figures: Figures) -> list[str]:
    """Sentences on what the tables show of the balance of the clips, and on what they cannot show."""
    told = []
    if figures.clips_per_identity is not None:
        fewest, median, most = figures.clips_per_identity
        each = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,} (median {median:,.0f})"
        told.append(
            f"Clips an identity: {each}. The ten most frequent identities make up {figures.share_of_ten:.1%} of all clips."
        )
    if figures.turned is not None:
        told.append(f"The head is turned by more than 45° to a side in {figures.turned:.1%} of the clips whose pose is known.")
    return [*told, LABELS]
