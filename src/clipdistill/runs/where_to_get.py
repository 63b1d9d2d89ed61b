"""Where data comes from: for a path that a recipe names and that isn't there, the page or command that gets it."""

from __future__ import annotations

KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"

# Without --resize_mode img2dataset pads every picture to a white-bordered square. keep_ratio makes the smaller side
# --image_size: all of the picture, and enough pixels for crops at 224.
_IMG2DATASET = (
    "img2dataset --url_list {name}.tsv --input_format tsv --url_col url --caption_col caption "
    "--output_format webdataset --output_folder data/{name} --image_size 256 --resize_mode keep_ratio "
    "--processes_count 16 --thread_count 64"
)

# A piece of the path -> what to do. The first that is found decides: folders of our own, then longer names.
_GUIDES = {
    "real-data": "examples/real_data/README.md says how to make the folder real-data",
    "data/weights": "checkpoints of UNITER, VILLA and VL-BERT by the links of their authors' repositories, under the "
    "names that the recipe has",
    "cc12m": "https://github.com/google-research-datasets/conceptual-12m has cc12m.tsv; write the line "
    f"`url<TAB>caption` above it, then: {_IMG2DATASET.format(name='cc12m')}",
    "cc3m": "https://ai.google.com/research/ConceptualCaptions/download has Train_GCC-training.tsv; save it as "
    f"cc3m.tsv with the line `caption<TAB>url` above it, then: {_IMG2DATASET.format(name='cc3m')}",
    "llava": "blip_laion_cc_sbu_558k.json and its images.zip (data/llava/558k) from liuhaotian/LLaVA-Pretrain, "
    "llava_v1_5_mix665k.json from liuhaotian/LLaVA-Instruct-150K, both on the hub; its page says where the pictures of "
    "coco, gqa, ocr_vqa, textvqa and vg are from, which lie in data/llava under these names",
    "gqa": "questions and images of https://cs.stanford.edu/people/dorarad/gqa/download.html in data/gqa",
    "textvqa": "TextVQA_0.5.1_val.json and train_val_images.zip from https://textvqa.org/dataset in data/textvqa",
    "scienceqa": "problems.json, pid_splits.json and test.zip as https://github.com/lupantech/ScienceQA says, in "
    "data/scienceqa",
    "pope": "output/coco of https://github.com/AoiDragon/POPE in data/pope/coco; COCO's val2014 in data/coco",
    "mme": "https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/tree/Evaluation says how to ask for "
    "MME_Benchmark_release_version",
    "vcr": "vcr1annots.zip and vcr1images.zip from https://visualcommonsense.com/download (after registering), "
    "unpacked in data/vcr; what `clipdistill mitigate` writes of val.jsonl beside it",
    "snli_ve": "https://github.com/necla-ml/SNLI-VE says how snli_ve_train.jsonl, _dev and _test are made, for "
    "data/snli_ve; pictures of Flickr30K in data/snli_ve/flickr30k-images",
    "vqa": "questions and annotations of VQA v2 from https://visualqa.org/download.html in data/vqa, COCO's train2014, "
    "val2014 and test2015 beside them",
    "flickr30k": "pictures by the form on https://shannon.cs.illinois.edu/DenotationGraph/ into data/flickr30k/images; "
    f"dataset_flickr30k.json from {KARPATHY}",
    "train2017": "train2017.zip and annotations_trainval2017.zip from https://cocodataset.org/#download, unpacked in "
    "data/coco",
    "coco": "train2014.zip and val2014.zip from https://cocodataset.org/#download, unpacked in data/coco; "
    f"dataset_coco.json from {KARPATHY}",
    "imagenet": "ILSVRC2012_img_val.tar from https://image-net.org/download.php (after registering), sorted into one "
    "folder a class: data/imagenet/val/n01440764/...",
    "cifar": "https://www.cs.toronto.edu/~kriz/cifar.html, unpacked where the recipe says; or set download: true",
    "visual_genome": "images.zip, images2.zip, region_descriptions.json and image_data.json from "
    "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html; the recipe dclip/mix_220k says how to "
    "make the table",
    "compositional": "Winoground: https://huggingface.co/datasets/facebook/winoground; ARO: "
    "https://github.com/mertyg/vision-language-models-are-bows; SugarCrepe: https://github.com/RAIVNLab/sugar-crepe; "
    "CLEVR: https://cs.stanford.edu/people/jcjohns/clevr; each in a folder of its name",
    "aircraft": "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft, the test pictures sorted into one folder a "
    "variant: data/fgvc_aircraft/test/747-400/...",
    "mnist": "hf download --repo-type dataset ylecun/mnist",
}


def where_to_get(path: str) -> str:
    """Return the page or command that gets the data at `path`, as a recipe spells it."""
    for piece, guide in _GUIDES.items():
        if piece in path.lower():
            return guide
    return "put it there, or set the recipe's path to where it is"
