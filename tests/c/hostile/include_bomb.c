#if __INCLUDE_LEVEL__ < 100
#include "include_bomb.c"
#include "include_bomb.c"
#endif
