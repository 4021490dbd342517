"""Class activation maps without gradients: which cells of the feature map speak for which class."""

# N images · K trained classes · D features · h, w cells

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_activation_maps(feature_map: NDArray[np.float32], head_weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """What every cell adds to every logit, as the head weighs it.

    Where the backbone pools by the mean (``FeatureMap.is_pooled_by_mean``; all built-in ones do), the mean of a map
    over its cells, plus the head's bias, is the logit: nothing is approximated. For a network that ends in global
    average pooling these are the maps of Zhou et al., and equal to Grad-CAM before its cut at zero, up to a factor. For
    a transformer that joins class token and mean patch token, the class token adds the same to every cell, and the
    differences between cells are those of their patch tokens. They say what the network used, not where the lesion is.

    Args:
        feature_map: float32 ``(N, D, h, w)``, as the classifier gives it.
        head_weight: float32 ``(K, D)``, of the classifier's linear layer.
    Returns:
        float32 ``(N, K, h, w)``, in units of logits; positive cells speak for the class.
    Source: Zhou et al. 2016, Learning deep features for discriminative localization; Selvaraju et al. 2017, Grad-CAM.
    """
    maps: NDArray[np.float32] = np.einsum("ndhw,kd->nkhw", feature_map, head_weight, dtype=np.float32)
    return maps
