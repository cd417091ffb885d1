from engines.open import *
