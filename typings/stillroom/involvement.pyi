from core.involvement import *
