"""The Nexmark queries over an auction house: people, auctions and bids."""
