from programs.forecast.seen import *
