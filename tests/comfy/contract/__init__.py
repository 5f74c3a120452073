"""What ComfyUI asks of the objects that this pack builds by hand for it, and whether they have it.

    python -m tests.comfy.contract FILE_OR_FOLDER...

reads a ComfyUI's sources without running them: a whole checkout, or loose files such as a newer `comfy/sd.py`. The
same demands are put to living objects in the host's own process by `in_host/check_contract.py`.
"""
