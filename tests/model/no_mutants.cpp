// For the models of the sources as they are.
#include "explore.hpp"

namespace toadstone::model {

std::vector<const char*> mutants_of(std::string_view) {
    return {};
}

} // namespace toadstone::model
