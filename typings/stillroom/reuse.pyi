from core.reuse import *
