// What a cell's printed functions are written in.
#pragma once
#include "layer.hpp"
#include "vec.hpp"

namespace {
using ostinato::Cell;
using ostinato::Tile;
}  // namespace
