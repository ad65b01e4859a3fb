#include "textflag.h"

TEXT dropSignal<>(SB), NOSPLIT|NOFRAME, $0-0
	RET

DATA ·dropSignalAt(SB)/8, $dropSignal<>(SB)
GLOBL ·dropSignalAt(SB), RODATA|NOPTR, $8
