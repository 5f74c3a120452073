"""generate, edit, answer: the whole path of a request.

prompt, images -> encode -> Conditioning -> sample -> latent -> decode -> image
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from . import images
from .checkpoints.generation_config import read_ends
from .checkpoints.loader import layers_as_stored, load_generation, load_understanding, load_vae
from .checkpoints.memory import held
from .checkpoints.model import find_tokenizer, open_model, read_config, require_vocabulary
from .conditioning import Branch, Conditioning
from .config import ModelConfig
from .errors import CapabilityError, InputError
from .framing import Part
from .generation.context import ContextBuilder
from .generation.layers import Attention, Layers, TorchLayers, attention
from .generation.tower import GenerationTower
from .generation.vae import ImageVAE
from .keeping import restored
from .offload import HOME, Residency, Watched, check_mode, in_own_precision
from .sampling.guidance import Guidance
from .sampling.loop import Finite, GuidedVelocity, Sampling, make_noise, sample
from .sampling.skipping import Passes
from .sampling.solvers import OnStep
from .turns import Turn
from .understanding.answer import CHAT, THINK_SYSTEM, Answerer, BoundedWriter, Decoding, open_writer
from .understanding.chat import Message, check_answerable
from .understanding.encoder import Encoder
from .understanding.tokenizer import Tokenizer
from .understanding.tower import UnderstandingTower
from .understanding.vision import Reference, vae_pixels, vit_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

NANO = Path(__file__).parent / "nano"
Prompt: TypeAlias = str | Sequence[int]
"""A text, or its token ids with the framing tokens."""
Picture: TypeAlias = "Image | Reference"


_Stream = TypeVar("_Stream", bound=Callable[..., Iterator[str]])


def _streamed(method: _Stream) -> _Stream:
    """A method whose pieces are made one at a time, each in its turn, and whose weights must be on the device for as
    long as they are asked for."""

    @wraps(method)
    def stream(self: LightFusion, *arguments: Any, **named: Any) -> Iterator[str]:
        turn = self.residency.turn
        self.residency.require_files()
        if self.residency.mode is None:
            with turn, in_own_precision(self.device):
                return _in_turns(method(self, *arguments, **named), turn, self.device)

        def pieces() -> Iterator[str]:
            with self.residency.using(self.understanding, self.generation if self.generation.coupled else None):
                try:
                    with turn, in_own_precision(self.device):
                        made = method(self, *arguments, **named)
                    yield from _in_turns(made, turn, self.device)
                finally:
                    self._forget()

        return pieces()

    return stream  # type: ignore[return-value]  # the same signature


def _in_turns(pieces: Iterator[str], turn: Turn, device: torch.device) -> Iterator[str]:
    while True:
        with turn, in_own_precision(device):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


class LightFusion:
    """One loaded model.

    Use `LightFusion.load`. Methods run without gradients; a model holds no state between calls but the
    last image prefixes that it encoded, to draw and to chat.

    Several threads may share one model: each phase of a request (reading, drawing, decoding, a piece of an answer) has
    its turn, and the others wait. So a callback must not wait for another thread that uses the same model.
    """

    def __init__(
        self,
        config: ModelConfig,
        understanding: UnderstandingTower,
        generation: GenerationTower,
        vae: ImageVAE | None,
        tokenizer: Tokenizer | None,
        device: torch.device | None = None,
        offload: str | None = None,
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.understanding, self.generation, self.vae = understanding, generation, vae
        device = device or generation.patch_embedding.weight.device
        self.residency = Residency(device, [understanding, generation], [vae] if vae else [], offload)
        special = config.special_tokens
        markers = (tokenizer.sov, tokenizer.eov) if tokenizer else (special.sov_token_id, special.eov_token_id)
        self.encoder = Encoder(understanding, config, markers, generation.coupled)

    @classmethod
    def load(
        cls,
        model: str | Path = "nano",
        *,
        understanding: str | Path | None = None,
        vae: str | Path | None = None,
        tokenizer: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        layers: Layers = TorchLayers,
        attention: Attention = attention,
        offload: str | None = None,
        mapped: bool = True,
    ) -> LightFusion:
        """Load a model: "nano", a safetensors file, an index of shards, or a folder.

        Args:
            understanding, vae: files or folders to take these parts from instead.
            tokenizer: a tokenizer.json, or a folder with it or with vocab.json and merges.txt, where the model's folder
                has none.
            device: where it runs; a GPU where there is one.
            dtype: what it computes in. Unless named, bfloat16 on a GPU; on a CPU float32 where there is memory for it,
                else bfloat16. Weights in scaled fp8 stay fp8, unless float32 or float16 is named. Matrices for which
                there is no memory in that dtype stay in the file's, mapped, and are cast at every use.
            layers, attention: see `generation/layers.py`.
            offload: keep weights in the main memory, and move them to the device by "phases" (what the present one
                needs) or "groups" (one layer at a time); see `offload.py`.
            mapped: weights that are held as their file has them are the file's own memory, and each request first
                looks whether that has changed. Else all are read: for files that change under a running program, as on
                some network drives.

        Raises:
            CheckpointError: a file that is missing, broken, foreign or incomplete.
            ConfigError: a config.json that contradicts itself.
            InputError: an `offload` that is not known, or a dtype that nothing is computed in, as fp8.
            DeviceMemoryError: too little memory for the model in any dtype.
        """
        check_mode(offload)
        device = torch.device(device or default_device())
        home = HOME if offload else device
        source = NANO if str(model) == "nano" else model
        checkpoint = open_model(source, mapped=mapped, understanding=understanding, vae=vae)
        config = read_config(checkpoint)
        how = held(checkpoint, device, home, dtype)
        dtype, as_stored = how.dtype, how.as_stored
        found = find_tokenizer(checkpoint, tokenizer)
        words = Tokenizer(found, config.special_tokens, read_ends(checkpoint)) if found else None
        require_vocabulary(words, config)
        kept = how.keeps_fp8 or as_stored
        stored_too = as_stored and layers is TorchLayers  # other layers may not cast
        if kept and layers is TorchLayers:
            layers = layers_as_stored(checkpoint, "generation", as_stored)
        text_layers = layers_as_stored(checkpoint, "understanding", as_stored) if kept else None
        loaded = cls(
            config,
            load_understanding(checkpoint, config, dtype, home, text_layers, as_stored=as_stored),
            load_generation(checkpoint, config, dtype, home, layers, attention, as_stored=stored_too),
            load_vae(checkpoint, config, dtype, home) if checkpoint.names("vae") else None,
            words,
            device,
            offload,
        )
        loaded.residency.files = tuple(checkpoint.backing.values())
        return loaded

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.residency.device

    @torch.no_grad()
    def prepare(self, image: Image, vae: bool = True) -> Reference:
        """A picture as a reference: pixels for the VLM, and a latent unless `vae` is False (rule B23)."""
        latent = self._encode_pixels(vae_pixels(image, self.config).unsqueeze(0)) if vae else None
        return Reference(vit_pixels(image, self.config), latent)

    @torch.no_grad()
    def encode(
        self,
        prompt: Prompt,
        images: Sequence[Picture] = (),
        *,
        negative_prompt: Prompt | None = None,
        system: str | None = None,
        thought: str | None = None,
        literal: bool = False,
        max_extent: int | None = None,
    ) -> Conditioning:
        """The conditioning of a request, for any seed, step count, guidance and size.

        Args:
            prompt: a text (without weights; it may be empty), or token ids with the framing tokens.
            images: references in order, pictures or prepared `Reference`s.
            negative_prompt: what guidance leads away from; the model's own when None.
            system, thought: for "think, then draw" (rule B29): text before and after the prompt; the
                negative branch then has no text at all.
            literal: read what is spelled like a special token (<|im_end|>) in the prompts as letters, as is always done
                in a thought, a question or a prompt to rewrite. Else it is that token, as the reference reads it, and
                ends the text's part: say True where a text comes from others.
            max_extent: the longest side, in tokens, of a picture to come; the model's own when None.
        """
        if negative_prompt is not None and not (system is None and thought is None):
            raise InputError(
                "With a system text or a thought the negative branch has no text: give no negative prompt."
            )
        given = ((system, False), (prompt, literal), (thought, True))
        texts = [self._ids(text, as_letters) for text, as_letters in given if text is not None]
        negative: list[Sequence[int]] = []
        if system is None and thought is None:
            wanted = self.config.defaults.negative_prompt if negative_prompt is None else negative_prompt
            negative.append(self._ids(wanted, literal))
        references = self._references(images)

        def read() -> Conditioning:
            return self.encoder.encode(texts, references, negative, max_extent)

        conditioning = self.residency.run("reading the prompt", [self.understanding], read, self._forget)
        if self.residency.mode is None:
            return conditioning
        self._forget()
        return conditioning.to(HOME)

    @torch.no_grad()
    def encode_branch(self, texts: Sequence[str], references: Sequence[Reference], max_extent: int) -> Branch:
        """One branch alone (see `encode`), as a training shows it: without any text, and with references that lack
        a side, too."""
        ids = [self._tokenizer().segment(text) for text in texts]

        def read() -> Branch:
            (branch,) = self.encoder.branches([(references, ids)], max_extent)
            assert branch is not None
            return branch

        return self.residency.run("reading the prompt", [self.understanding], read, self._forget)

    @torch.no_grad()
    def guided(self, conditioning: Conditioning, width: int, height: int, guidance: Guidance) -> GuidedVelocity:
        """The guided network for pictures of (width, height) pixels: its context is built here. An offloaded
        model's weights must be on the device while it is made and used (`sample` does that)."""
        token, builder = self.config.token_size, self._context_builder()
        return GuidedVelocity(self.generation, builder, conditioning, guidance, height // token, width // token)

    @torch.no_grad()
    def sample(
        self,
        conditioning: Conditioning,
        width: int,
        height: int,
        seed: int = 0,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
        *,
        batch: int = 1,
        noise: Tensor | None = None,
        latent: Tensor | None = None,
        mask: Tensor | None = None,
        on_step: OnStep | None = None,
        passes: Passes | None = None,
    ) -> Tensor:
        """Draw normalised latents (B, C, 1, h, w) float32.

        Args:
            width, height: pixels; rounded to the model's multiple, with a warning.
            seed: image k of the batch is drawn with seed + k.
            noise: (B, C, 1, h, w) to start from, in place of the seed's.
            latent, mask, on_step, passes: see `sampling.loop.sample`.
        """
        defaults = self.config.defaults
        sampling = sampling or Sampling(defaults.steps, defaults.shift)
        guidance = guidance or Guidance(defaults.text_guidance, defaults.image_guidance)
        width, height = self.fit_size(width, height)
        if batch < 1:
            raise InputError(f"A batch needs at least 1 picture, found {batch}.")
        if noise is None:
            stride = self.config.vae.stride
            shape = (self.config.dit.in_dim, 1, height // stride, width // stride)
            noise = make_noise(shape, range(seed, seed + batch))
        self._check_latents(width, height, noise, latent, mask)
        start, latent, mask = (
            given if given is None else given.to(self.device, torch.float32) for given in (noise, latent, mask)
        )
        assert start is not None
        watched = None if on_step is None else Watched(on_step)

        def draw() -> Tensor:
            velocity, finite = self.guided(conditioning, width, height, guidance), Finite()
            drawn = sample(
                velocity, start, sampling, latent=latent, mask=mask, on_step=watched, passes=passes, finite=finite
            )
            finite.check()
            return drawn

        return self.residency.run("drawing", self._drawing_parts(), draw, self._forget, watched)

    @torch.no_grad()
    def decode(self, latent: Tensor, tile: int | None = None) -> Tensor:
        """Normalised latents (B, C, 1, h, w) to images (B, H, W, 3) float32 in 0..1; `tile` bounds memory, in pixels.

        Raises:
            InputError: another shape.
        """
        vae, channels = self._vae(), self.config.vae.z_dim
        if latent.ndim != 5 or latent.shape[1:3] != (channels, 1) or 0 in latent.shape:
            raise InputError(
                f"Expected latents of shape (B, {channels}, 1, h, w), found {tuple(latent.shape)}; give what `sample` "
                "or a VAE of this model gives."
            )

        def decode() -> Tensor:
            return vae.decode(latent, tile or self.residency.tile)

        return self.residency.run("decoding", [vae], decode, self._forget)

    def generate(
        self,
        prompt: Prompt,
        *,
        width: int | None = None,
        height: int | None = None,
        seed: int = 0,
        batch: int = 1,
        negative_prompt: Prompt | None = None,
        system: str | None = None,
        thought: str | None = None,
        literal: bool = False,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
        on_step: OnStep | None = None,
        passes: Passes | None = None,
    ) -> Tensor:
        """Text to images (B, H, W, 3) float32 in 0..1; see `encode` for the texts, `sample` for the rest."""
        self.check_task("generate")
        side = self.config.defaults.size
        conditioning = self.encode(
            prompt, negative_prompt=negative_prompt, system=system, thought=thought, literal=literal
        )
        latent = self.sample(
            conditioning, width or side, height or side, seed, sampling, guidance,
            batch=batch, on_step=on_step, passes=passes,
        )  # fmt: skip
        return self.decode(latent)

    def edit(
        self,
        image: Image,
        instruction: Prompt,
        *,
        references: Sequence[Image] = (),
        mask: Tensor | None = None,
        width: int | None = None,
        height: int | None = None,
        seed: int = 0,
        batch: int = 1,
        negative_prompt: Prompt | None = None,
        system: str | None = None,
        thought: str | None = None,
        literal: bool = False,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
        outpaint: Sequence[int] = (0, 0, 0, 0),
        context: float | None = None,
        keep: bool = True,
        on_changed: Callable[[Tensor], None] | None = None,
        on_step: OnStep | None = None,
        passes: Passes | None = None,
    ) -> Tensor:
        """Edit a picture by instruction; the result has its size and position.

        Args:
            image: what is edited; `references` are further images that the instruction speaks of.
            mask: (H, W) of the image's size, 1 where it may change; pixels at 0 come back bit-identical to the
                image in RGB. `stored.put_back` puts the result into the image's own mode, depth, alpha and profile.
            width, height: the size at which the edit is drawn; the model's rule for `image` when None.
            sampling: with denoise below 1 the run starts from the picture, not from noise alone.
            outpaint: pixels to add at the left, top, right and bottom, and to fill; the picture is kept.
            context: with a mask, how much larger than its own box the part of the picture is that is drawn, 1 or more.
                None draws all of a picture that the model draws in its own size, else `framing.CONTEXT`.
            keep: give back bit for bit what the edit did not change, unless it changed the whole picture, and match
                the colours of what shows to what is kept. See `keeping`.
            on_changed: told where the pictures show the edit, (B, H, W) in 0..1.

        Returns:
            Images (B, H, W, 3) float32 in 0..1 and sRGB, H and W the image's and what was added, any transparency laid
            on white.
        """
        self.check_task("edit")
        if mask is not None and tuple(mask.shape) != image.size[::-1]:
            raise InputError(
                f"Expected a mask of the picture's height and width, {image.size[::-1]}, found {tuple(mask.shape)}; "
                "resize it."
            )
        part = Part.of(image.size, mask, outpaint, context, self.config.vae_image)
        whole = part.whole(images.to_rgb(image))
        image, mask = part.cut(whole), part.mask
        ruled = images.resized_size(*image.size, self.config.vae_image)
        width, height = self.fit_size(width or ruled[0], height or ruled[1])
        prepared = [self.prepare(picture) for picture in (image, *references)]
        conditioning = self.encode(
            instruction, prepared, negative_prompt=negative_prompt, system=system, thought=thought, literal=literal
        )
        latent_mask = None if mask is None else self._latent_mask(mask, width, height)
        canvas = images.to_tensor(images.resize(image, (width, height)))
        starts_from_it = mask is not None or (sampling is not None and sampling.denoise < 1)
        latent = self.encode_picture(canvas) if starts_from_it else None
        drawn = self.sample(
            conditioning, width, height, seed, sampling, guidance,
            batch=batch, latent=latent, mask=latent_mask, on_step=on_step, passes=passes,
        )  # fmt: skip
        before = None
        if keep:
            own = latent if latent is not None or (width, height) != ruled else prepared[0].latent
            before = self._through_vae(canvas, own)
        original, placement = images.to_tensor(image), images.Placement(image.size, (width, height))
        edited = [restored(one, placement, original, part.shown, before) for one in self.decode(drawn).cpu()]
        if on_changed is not None:
            nowhere = torch.zeros(whole.size[::-1], dtype=torch.float32)
            on_changed(torch.stack([part.placed(shown, nowhere) for _, shown in edited]))
        around = images.to_tensor(whole)
        return torch.stack([part.placed(picture, around) for picture, _ in edited])

    @_streamed
    def answer(
        self,
        question: str,
        images: Sequence[Image] = (),
        *,
        decoding: Decoding | None = None,
        manner: str | None = None,
    ) -> Iterator[str]:
        """Answer in pieces of text, as they are written.

        Args:
            manner: "chat" (the VLM's own template) or "reference" (rule B26); chat when None, but
                reference for a coupled model, whose VLM is used with its fusion.
        """
        self.check_task("answer")
        prepared = [self.prepare(image, vae=False) for image in images]
        return self.answerer.answer(question, prepared, decoding, manner)

    @_streamed
    def chat(self, messages: Sequence[Message[Picture]], *, decoding: Decoding | None = None) -> Iterator[str]:
        """The answer to the last message of a chat, in pieces; see `Answerer.answer` for what is read of a long one.

        Raises:
            InputError: no messages, or the last one is not the user's.
        """
        self.check_task("answer")
        *history, last = self._messages(messages)
        return self.answerer.answer(last.text, last.pictures, decoding, CHAT, history=history)

    @torch.no_grad()
    def likelihoods(self, messages: Sequence[Message[Picture]], continuations: Sequence[str]) -> list[float]:
        """How likely a chat goes on with each of these texts; see `Answerer.likelihoods`."""
        self.check_task("answer")
        read = self._messages(messages)

        def score() -> list[float]:
            return self.answerer.likelihoods(read, continuations)

        found = self.residency.run("reading the chat", [self.understanding], score, self._forget)
        if self.residency.mode is not None:
            self._forget()
        return found

    def _messages(self, messages: Sequence[Message[Picture]]) -> list[Message[Reference]]:
        check_answerable(messages)
        prepared = [tuple(self._seen(picture) for picture in message.pictures) for message in messages]
        return [
            Message(message.role, message.text, pictures) for message, pictures in zip(messages, prepared, strict=True)
        ]

    def _seen(self, picture: Picture) -> Reference:
        return picture if isinstance(picture, Reference) else self.prepare(picture, vae=False)

    @_streamed
    def think(
        self,
        prompt: str,
        images: Sequence[Picture] = (),
        *,
        system: str = THINK_SYSTEM,
        decoding: Decoding | None = None,
    ) -> Iterator[str]:
        """The thought before drawing (rule B29), in pieces without leading newlines; hand the whole to
        `encode` as `thought`."""
        self.check_task("answer")
        return self.answerer.think(prompt, self._references(images), system, decoding)

    @_streamed
    def rewrite(self, prompt: str, images: Sequence[Image] = (), *, decoding: Decoding | None = None) -> Iterator[str]:
        """A detailed description in the place of a prompt, in pieces; `images` are what the prompt speaks of."""
        self.check_task("answer")
        prepared = [self.prepare(image, vae=False) for image in images]
        return self.answerer.rewrite(prompt, prepared, decoding)

    def writer(self, texts: Sequence[Sequence[int]], references: Sequence[Reference] = ()) -> BoundedWriter:
        """What continues a drawing context with text, one token at a time (rule B26)."""
        return open_writer(self.encoder, texts, references, self._context_builder)

    @cached_property
    def answerer(self) -> Answerer:
        """What writes this model's text. Raises CapabilityError for a model without a tokenizer."""
        return Answerer(self.encoder, self._tokenizer(), self._context_builder)

    @property
    def _context_builder(self) -> Callable[[], ContextBuilder]:
        """Makes what builds contexts. It does not hold this object, which would then outlive its last use."""
        generation, understanding, device = self.generation, self.understanding, self.device
        return lambda: ContextBuilder(generation, device, understanding)

    def fit_size(self, width: int, height: int) -> tuple[int, int]:
        """The size rounded to the model's multiple, said in the log where it changes.

        Raises:
            InputError: below one token, longer than 16:1, or beyond the model's largest side.
        """
        return images.fit_size(width, height, self.config)

    def _ids(self, text: Prompt, literal: bool) -> Sequence[int]:
        """The token ids of one text segment: bos, the raw string's ids, eos (rule B2)."""
        if not isinstance(text, str):
            return text
        return self._tokenizer().segment(text, literal)

    def _references(self, pictures: Sequence[Picture]) -> list[Reference]:
        return [picture if isinstance(picture, Reference) else self.prepare(picture) for picture in pictures]

    def _check_latents(
        self, width: int, height: int, noise: Tensor, latent: Tensor | None, mask: Tensor | None
    ) -> None:
        """Raises InputError for what is not of the shape that a picture of this size is drawn in."""
        stride = self.config.vae.stride
        channels, rows, columns = self.config.dit.in_dim, height // stride, width // stride
        for name, given, depth in (("noise", noise, channels), ("a latent", latent, channels), ("a mask", mask, 1)):
            if given is None:
                continue
            fits = given.ndim == 5 and given.shape[1:] == (depth, 1, rows, columns)
            if not fits or len(given) not in ({1, len(noise)} if given is not noise else range(1, len(given) + 1)):
                raise InputError(
                    f"Expected {name} of shape ({'B' if given is noise else f'1 or {len(noise)}'}, {depth}, 1, {rows}, "
                    f"{columns}) for {width}x{height} pixels, found {tuple(given.shape)}; make it for this size."
                )

    def _latent_mask(self, mask: Tensor, width: int, height: int) -> Tensor:
        """A mask (H, W) on the latent's grid (1, 1, 1, h, w), covering every position that it touches."""
        stride = self.config.vae.stride
        grid = torch.nn.functional.adaptive_max_pool2d(mask.float()[None, None], (height // stride, width // stride))
        return grid.unsqueeze(2)

    @torch.no_grad()
    def encode_picture(self, picture: Tensor) -> Tensor:
        """The normalised latent (1, C, 1, h, w) float32 of a picture (H, W, 3) in 0..1, of a size that is drawn."""
        return self._encode_pixels(picture.permute(2, 0, 1).unsqueeze(0) * 2 - 1)

    def _through_vae(self, picture: Tensor, latent: Tensor | None) -> Tensor:
        """A picture (H, W, 3) as the VAE gives it back, from its latent where there is one."""
        return self.decode(self.encode_picture(picture) if latent is None else latent).cpu()[0]

    def _encode_pixels(self, pixels: Tensor) -> Tensor:
        vae = self._vae()

        def encode() -> Tensor:
            return vae.encode(pixels, self.residency.tile)

        return self.residency.run("encoding a picture", [vae], encode, self._forget)

    def _forget(self) -> None:
        """Drop the prefixes that were kept for a next request."""
        self.encoder.forget()
        if "answerer" in vars(self):
            self.answerer.forget()

    def _drawing_parts(self) -> tuple[torch.nn.Module, ...]:
        """What a step runs: of a coupled model the understanding tower too."""
        return (self.generation, self.understanding) if self.generation.coupled else (self.generation,)

    def check_task(self, task: str) -> None:
        """Raises CapabilityError where the model was not trained for a task: "generate", "edit" or "answer"."""
        if task not in self.config.tasks:
            raise CapabilityError(
                f"The model {self.config.name} was not trained to {task}; it was trained to "
                f"{' and '.join(self.config.tasks)}. Load another model for this."
            )

    def _vae(self) -> ImageVAE:
        if self.vae is None:
            raise CapabilityError("This model came without a VAE: name a Wan2.2 VAE with vae=PATH when loading.")
        return self.vae

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise CapabilityError(
                "This model came without a tokenizer: name one with tokenizer=PATH when loading, or give token ids."
            )
        return self.tokenizer


def default_device() -> str:
    """The best device at hand: cuda (ROCm too), mps, or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
