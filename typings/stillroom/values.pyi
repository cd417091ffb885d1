from core.values import *
