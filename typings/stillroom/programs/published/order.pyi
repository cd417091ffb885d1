from programs.published.order import *
