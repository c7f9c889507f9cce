"""The masked autoencoder: what is hidden, what counts, and that it learns."""

import numpy as np
import pytest
import torch

from models.networks.autoencoder import Autoencoder, draw_hidden, reconstruction_loss, spoil
from tests.support.drawing import draw_landmark

NETWORK = {"width": 8, "depth": 1}


@pytest.mark.parametrize("settings", [{}, {"stem": "patch"}, {"stem": "deep", "norm": "group"}])
def test_shapes(settings: dict[str, str]) -> None:
    network = Autoencoder(**NETWORK, **settings)
    for height, width in ((32, 32), (64, 96)):
        assert network(torch.randn(2, 3, height, width)).shape == (2, 3, height, width)
    assert not any("head" in name for name in network.state_dict())


def test_each_photo_loses_the_same_number_of_whole_patches() -> None:
    hidden = draw_hidden(5, 64, 16, 0.6, torch.Generator().manual_seed(0))
    assert hidden.shape == (5, 1, 64, 64) and hidden.dtype == torch.bool
    patches = hidden.view(5, 4, 16, 4, 16).transpose(2, 3).reshape(5, 16, 256)
    assert set(patches.float().mean(2).unique().tolist()) == {0.0, 1.0}
    assert patches[..., 0].sum(1).tolist() == [10] * 5
    assert not torch.equal(hidden[0], hidden[1])
    for ratio, count in ((0.01, 1), (0.99, 3)):  # never none, never all
        few = draw_hidden(2, 32, 16, ratio, torch.Generator().manual_seed(0))
        assert few.float().mean((1, 2, 3)).tolist() == [count / 4] * 2


def test_spoiled_photos_are_grey_where_hidden_and_noisy_elsewhere() -> None:
    images = torch.rand(2, 3, 32, 32) + 1
    spoiled, hidden = spoil(images, 16, 0.5, 0.1, torch.Generator().manual_seed(0))
    everywhere = hidden.expand_as(images)
    assert (spoiled[everywhere] == 0).all()
    assert (spoiled - images)[~everywhere].std().item() == pytest.approx(0.1, rel=0.1)


def test_loss_counts_hidden_pixels_most() -> None:
    images = torch.zeros(1, 3, 32, 32)
    hidden = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    hidden[..., :16] = True
    wrong_hidden, wrong_visible = hidden.float().expand(1, 3, -1, -1), (~hidden).float()
    loss = reconstruction_loss(wrong_hidden, images, hidden).item()
    assert loss == pytest.approx(1 / 1.1)
    assert reconstruction_loss(wrong_visible, images, hidden).item() == pytest.approx(0.1 / 1.1)


def test_learns_to_restore_one_batch() -> None:
    torch.manual_seed(0)
    network = Autoencoder(**NETWORK)
    pixels = [np.asarray(draw_landmark(label, 0, (64, 64))) for label in range(4)]
    images = torch.tensor(np.stack(pixels)).permute(0, 3, 1, 2) / 127.5 - 1
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        spoiled, hidden = spoil(images, 16, 0.5, 0.1, torch.Generator().manual_seed(1))
        loss = reconstruction_loss(network(spoiled), images, hidden)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if not gradient.abs().sum() > 0] == []
