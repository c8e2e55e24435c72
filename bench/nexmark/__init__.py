"""The Nexmark queries over an auction house: people, auctions and bids."""

import headwater  # noqa: F401 - how numpy sorts must be said before it is loaded (headwater/simd.py)
