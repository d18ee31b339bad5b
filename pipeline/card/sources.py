"""Facts about each corpus for data card and Croissant file: name, licence, origin, authors and citation.

All are taken from the pages and papers of the corpora.
"""

from dataclasses import dataclass

_VOXCELEB = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/"

_VOXCELEB1_PAPER = """@inproceedings{nagrani2017voxceleb,
  author = {Arsha Nagrani and Joon Son Chung and Andrew Zisserman},
  title = {{VoxCeleb}: A Large-Scale Speaker Identification Dataset},
  booktitle = {Interspeech},
  year = {2017}
}"""
_VOXCELEB2_PAPER = """@inproceedings{chung2018voxceleb2,
  author = {Joon Son Chung and Arsha Nagrani and Andrew Zisserman},
  title = {{VoxCeleb2}: Deep Speaker Recognition},
  booktitle = {Interspeech},
  year = {2018}
}"""
_FOMM_PAPER = """@inproceedings{siarohin2019first,
  author = {Aliaksandr Siarohin and St{\\'e}phane Lathuili{\\`e}re and Sergey Tulyakov and Elisa Ricci and Nicu Sebe},
  title = {First Order Motion Model for Image Animation},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2019}
}"""
_FASHION_PAPER = """@inproceedings{zablotskaia2019dwnet,
  author = {Polina Zablotskaia and Aliaksandr Siarohin and Bo Zhao and Leonid Sigal},
  title = {{DwNet}: Dense Warp-Based Network for Pose-Guided Human Video Generation},
  booktitle = {British Machine Vision Conference (BMVC)},
  year = {2019}
}"""
_HDTF_PAPER = """@inproceedings{zhang2021flow,
  author = {Zhimeng Zhang and Lincheng Li and Yu Ding and Changjie Fan},
  title = {Flow-Guided One-Shot Talking Face Generation With a High-Resolution Audio-Visual Dataset},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {3661--3670},
  year = {2021}
}"""
_CELEBVHQ_PAPER = """@inproceedings{zhu2022celebvhq,
  author = {Hao Zhu and Wayne Wu and Wentao Zhu and Liming Jiang and Siwei Tang and Li Zhang and Ziwei Liu and Chen Change Loy},
  title = {{CelebV-HQ}: A Large-Scale Video Facial Attributes Dataset},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2022}
}"""
_TALKINGHEAD1KH_PAPER = """@inproceedings{wang2021facevid2vid,
  author = {Ting-Chun Wang and Arun Mallya and Ming-Yu Liu},
  title = {One-Shot Free-View Neural Talking-Head Synthesis for Video Conferencing},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2021}
}"""

_VOXCELEB_RIGHTS = (
    f"The annotations of [VoxCeleb]({_VOXCELEB}) are under CC BY 4.0. The videos, and therefore the frames in these shards, "
    "belong to their owners, and the people in them can ask to be removed."
)
_YOUTUBE = (
    "The videos are YouTube uploads, found by searching for the names of celebrities. Neither the uploaders nor the people shown "
    "were asked."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A corpus as described by its authors. Unknown fields are empty.

    title: its name and content, for headings
    licence: a licence id of the Hugging Face Hub; `other` requires licence_name and licence_link
    home: its page
    based_on: an entry of the Hub's `source_datasets`
    collection: how its videos were collected, and whether anyone was asked
    rights: permitted use of the frames
    citation: BibTeX
    shows: `face` or `body`; empty if unknown
    real: whether it shows real people whose consent we have not asked for
    """

    title: str
    licence: str = "other"
    licence_name: str = ""
    licence_link: str = ""
    home: str = ""
    based_on: str = "original"
    collection: str
    rights: str
    citation: str = ""
    shows: str = ""
    real: bool = True


CORPORA = {
    "voxceleb1": Corpus(
        title="VoxCeleb1 face clips",
        licence_name="annotations-cc-by-4.0-videos-of-their-owners",
        licence_link=_VOXCELEB,
        home=_VOXCELEB,
        based_on="extended|other-voxceleb1",
        collection=_YOUTUBE,
        rights=_VOXCELEB_RIGHTS,
        citation=_VOXCELEB1_PAPER,
        shows="face",
    ),
    "voxceleb2": Corpus(
        title="VoxCeleb2 face clips",
        licence_name="annotations-cc-by-4.0-videos-of-their-owners",
        licence_link=_VOXCELEB,
        home=_VOXCELEB,
        based_on="extended|other-voxceleb2",
        collection=_YOUTUBE,
        rights=_VOXCELEB_RIGHTS,
        citation=_VOXCELEB2_PAPER,
        shows="face",
    ),
    "taichi": Corpus(
        title="TaiChi-HD body clips",
        licence_name="videos-of-their-owners",
        licence_link="https://github.com/AliaksandrSiarohin/first-order-model",
        home="https://github.com/AliaksandrSiarohin/first-order-model",
        based_on="extended|other-taichi-hd",
        collection=(
            "The videos are YouTube uploads that show Tai Chi, listed with boxes by the authors of First Order Motion Model."
        ),
        rights="TaiChi-HD is a list of videos that belong to their owners, published for research; see its page.",
        citation=_FOMM_PAPER,
        shows="body",
    ),
    "fashion": Corpus(
        title="Fashion body clips",
        licence_name="videos-of-their-owners",
        licence_link="https://vision.cs.ubc.ca/datasets/fashion/",
        home="https://vision.cs.ubc.ca/datasets/fashion/",
        based_on="extended|other-ubc-fashion",
        collection="The videos show models who walk and turn in clothes of a shop, listed by the University of British Columbia.",
        rights="UBC Fashion is a list of videos that belong to their owners, published for research; see its page.",
        citation=_FASHION_PAPER,
        shows="body",
    ),
    "hdtf": Corpus(
        title="HDTF talking-face clips",
        licence_name="lists-cc-by-4.0-videos-of-their-owners",
        licence_link="https://github.com/MRzzm/HDTF",
        home="https://github.com/MRzzm/HDTF",
        based_on="extended|other-hdtf",
        collection=(
            "The videos are YouTube uploads of talking people, including addresses by politicians, listed by the authors of "
            "HDTF. Nothing is published about whether the people shown were asked."
        ),
        rights=(
            "The authors publish [HDTF](https://github.com/MRzzm/HDTF) under CC BY 4.0. The videos were uploaded by others, "
            "whose terms also apply."
        ),
        citation=_HDTF_PAPER,
        shows="face",
    ),
    "celebvhq": Corpus(
        title="CelebV-HQ face clips",
        licence_name="non-commercial-research-only",
        licence_link="https://github.com/CelebV-HQ/CelebV-HQ#agreement",
        home="https://celebv-hq.github.io/",
        based_on="extended|other-celebv-hq",
        collection=(
            "The videos were obtained from the Internet and show celebrities; the list contains their YouTube ids. "
            "Nothing is published about whether the people shown were asked."
        ),
        rights=(
            "[CelebV-HQ](https://github.com/CelebV-HQ/CelebV-HQ#agreement) is for non-commercial research only. Copies may be "
            "made within one site of an organization, and must not be published or distributed further."
        ),
        citation=_CELEBVHQ_PAPER,
        shows="face",
    ),
    "talkinghead1kh": Corpus(
        title="TalkingHead-1KH face clips",
        licence_name="videos-cc-by-3.0-lists-mit",
        licence_link="https://github.com/tcwang0509/TalkingHead-1KH",
        home="https://github.com/tcwang0509/TalkingHead-1KH",
        based_on="extended|other-talkinghead-1kh",
        collection=(
            "The videos are YouTube uploads under CC BY 3.0, selected by the authors of TalkingHead-1KH. Owners can ask the "
            "authors to remove a video from the list."
        ),
        rights=(
            "The uploaders published the videos under CC BY 3.0; the lists of "
            "[TalkingHead-1KH](https://github.com/tcwang0509/TalkingHead-1KH) are under the MIT licence."
        ),
        citation=_TALKINGHEAD1KH_PAPER,
        shows="face",
    ),
    "demo": Corpus(
        title="Rendered demo face clips",
        licence_name="public-domain",
        licence_link="https://www.nasa.gov/nasa-brand-center/images-and-media/",
        home="https://scikit-image.org/docs/stable/api/skimage.data.html",
        collection=(
            "The videos were rendered from one portrait; each identity is that face with different colors and a slightly "
            "different shape."
        ),
        rights=(
            "Rendered from the portrait of Eileen Collins that ships with scikit-image (NASA, public domain). It is meant for "
            "trying out the tool, not for training."
        ),
        shows="face",
        real=False,
    ),
    "folder": Corpus(
        title="Video clips",
        licence="unknown",
        collection="The videos were chosen by the user; nothing is known about them.",
        rights="Ask the owners of the source videos.",
    ),
}


def corpus_of(source: str) -> Corpus:
    """The corpus of a build's `source`; that of `folder`, without any facts, if this version does not know the source."""
    return CORPORA.get(source, CORPORA["folder"])
