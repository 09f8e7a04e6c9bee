"""The workshop room that quantizes a network, packs it, and proves that nothing was lost."""
