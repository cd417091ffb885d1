from programs.judging.orders import *
